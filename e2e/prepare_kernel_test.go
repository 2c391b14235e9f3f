//go:build kernel

package e2e

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/agent"
)

// What the manifests rely on, with the image's own files: the agent's container can write neither sysctls nor the state
// directory and has one capability, so `run --init-only` goes before.
func TestPreparedNodeIsServedByAnAgentWithNetAdminAlone(t *testing.T) {
	r := newRig(t)
	r.run(t, "", "ipvsadm", "-Ln") // loads the module, without which there are no such settings
	must(t, r.Node1.Sysctl("net.ipv4.vs.conntrack", "0"))
	r.serve(t, web(), r.both()...)
	t.Run("an agent on a node that is not prepared names the preparation", func(t *testing.T) {
		a := r.launchConfined(t, netAdmin)
		eventually(t, "the agent ends", func() error {
			select {
			case <-a.Ended():
				return nil
			default:
				return fmt.Errorf("it runs")
			}
		})
		for _, want := range []string{"read-only file system", "kube-ipvs run --init-only"} {
			if !strings.Contains(a.Log(), want) {
				t.Errorf("it does not say %q:\n%s", want, a.Log())
			}
		}
	})
	t.Run("the preparation sets sysctls, and serves nothing", func(t *testing.T) {
		out, code, err := agent.Run(t.Context(), r.Node1, "run", "--init-only", "--state-dir", r.state)
		if err != nil || code != 0 {
			t.Fatalf("exit code %d, %v\n%s", code, err, out)
		}
		if got := r.sysctl(t, "ipv4/vs/conntrack"); got != "1" {
			t.Errorf("net.ipv4.vs.conntrack is %s", got)
		}
		if tables := r.run(t, "", "nft", "list", "tables"); len(r.table(t)) > 0 || tables != "" {
			t.Errorf("it made %v, %s", r.table(t), tables)
		}
	})
	t.Run("the agent serves, in its confinement", func(t *testing.T) {
		r.agent = r.launchConfined(t, netAdmin)
		eventually(t, "the agent is ready", func() error { return r.agent.Ready(t.Context()) })
		r.served(t)
		r.stop(t)
	})
	t.Run("cleanup gives back what the preparation found", func(t *testing.T) {
		if out, code, err := agent.Cleanup(t.Context(), r.Node1, "--state-dir", r.state); err != nil || code != 0 {
			t.Fatalf("exit code %d, %v\n%s", code, err, out)
		}
		if got := r.sysctl(t, "ipv4/vs/conntrack"); got != "0" {
			t.Errorf("net.ipv4.vs.conntrack is %s", got)
		}
	})
}

// imageRoot is where the root file system of the image is in the guest: `make guest` builds it and puts it there.
const imageRoot = "/rootfs"

// netAdmin is the one capability of the agent's container.
var netAdmin = []uintptr{unix.CAP_NET_ADMIN}

// launchConfined starts the agent of the image in the image's root file system, as its container does, with these capabilities.
func (r *rig) launchConfined(t *testing.T, capabilities []uintptr, flags ...string) *agent.Agent {
	t.Helper()
	return r.launchConfinedAs(t, 0, capabilities, flags...)
}

// launchConfinedAs is launchConfined as a user, who keeps the capabilities if it is not root.
func (r *rig) launchConfinedAs(t *testing.T, uid uint32, capabilities []uintptr, flags ...string) *agent.Agent {
	t.Helper()
	var a *agent.Agent
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: what follows is of this thread and its children
		err := confine(capabilities, r.Dir, r.state)
		if err == nil {
			o := r.options(append([]string{bothNetworks}, flags...)...)
			o.Root, o.Binary, o.UID, o.Ambient = imageRoot, "/usr/bin/kube-ipvs", uid, capabilities
			a, err = agent.Launch(context.WithoutCancel(t.Context()), r.Node1, o)
		}
		done <- err
	}()
	must(t, <-done)
	return a
}

// confine makes the image's root file system what a container sees: /proc with /proc/sys read-only, some directories of
// the node, and all of it read-only but for /dev/null. It is seen by the thread and what it starts, which has these capabilities
// alone, and is refused what seccomp's RuntimeDefault refuses.
func confine(capabilities []uintptr, dirs ...string) error {
	if _, err := os.Stat(imageRoot + "/usr/bin/kube-ipvs"); err != nil {
		return fmt.Errorf("the image's root file system is not in the guest, make guest puts it there: %w", err)
	}
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("new mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("private mounts: %w", err)
	}
	for _, dir := range dirs {
		if err := os.MkdirAll(imageRoot+dir, 0o755); err != nil {
			return err
		}
	}
	if err := os.WriteFile(imageRoot+os.DevNull, nil, 0o600); err != nil { // every container runtime gives it a device
		return err
	}
	// Outer mounts first: what is mounted in a directory is not seen through a later mount of the directory itself.
	mounts := [][2]string{
		{imageRoot, imageRoot}, {"/proc", imageRoot + "/proc"}, {"/proc/sys", imageRoot + "/proc/sys"}, {os.DevNull, imageRoot + os.DevNull},
	}
	for _, dir := range dirs {
		mounts = append(mounts, [2]string{dir, imageRoot + dir})
	}
	for _, m := range mounts {
		if err := unix.Mount(m[0], m[1], "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("bind %s to %s: %w", m[0], m[1], err)
		}
		if m[0] == "/proc" || m[0] == os.DevNull {
			continue
		}
		if err := unix.Mount("", m[1], "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
			return fmt.Errorf("make %s read-only: %w", m[1], err)
		}
	}
	for c := uintptr(0); c <= unix.CAP_LAST_CAP; c++ {
		if slices.Contains(capabilities, c) {
			continue
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil {
			return fmt.Errorf("drop capability %d: %w", c, err)
		}
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	return refuseSyscalls()
}
