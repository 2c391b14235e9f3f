//go:build kernel

package e2e

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/agent"
)

// What the manifests rely on: the agent's container can write neither sysctls nor the state directory and has one
// capability, so `run --init-only` goes before.
func TestPreparedNodeIsServedByAnAgentWithNetAdminAlone(t *testing.T) {
	r := newRig(t)
	r.run(t, "", "ipvsadm", "-Ln") // loads the module, without which there are no such settings
	must(t, r.Node1.Sysctl("net.ipv4.vs.conntrack", "0"))
	r.serve(t, web(), r.both()...)
	t.Run("an agent on a node that is not prepared names the preparation", func(t *testing.T) {
		a := r.launchConfined(t)
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
		r.agent = r.launchConfined(t)
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

// launchConfined starts the agent as its container does.
func (r *rig) launchConfined(t *testing.T) *agent.Agent {
	t.Helper()
	var a *agent.Agent
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: what follows is of this thread and its children
		err := confine("/proc/sys", r.state)
		if err == nil {
			a, err = agent.Launch(context.WithoutCancel(t.Context()), r.Node1, r.options(bothNetworks))
		}
		done <- err
	}()
	must(t, <-done)
	return a
}

// confine makes directories read-only for the thread, and leaves NET_ADMIN alone to what it starts.
func confine(readOnly ...string) error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("new mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("private mounts: %w", err)
	}
	for _, dir := range readOnly {
		if err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("bind %s: %w", dir, err)
		}
		if err := unix.Mount("", dir, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
			return fmt.Errorf("make %s read-only: %w", dir, err)
		}
	}
	for c := uintptr(0); c <= unix.CAP_LAST_CAP; c++ {
		if c == unix.CAP_NET_ADMIN {
			continue
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil {
			return fmt.Errorf("drop capability %d: %w", c, err)
		}
	}
	return unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
}
