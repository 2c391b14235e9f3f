//go:build kernel

package e2e

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/agent"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// The whole main job with what the manifests leave the agent: one capability, a root file system and sysctls that are read-only,
// no new privileges, and the system calls of a container.
func TestOneCapabilityIsEnoughFromTheFirstStartToTheCleanup(t *testing.T) {
	r := newRig(t)
	r.run(t, "", "ipvsadm", "-Ln") // loads the module, without which there are no such settings
	must(t, r.Node1.Sysctl("net.ipv4.vs.conntrack", "0"))
	if out, code, err := agent.Run(t.Context(), r.Node1, "run", "--init-only", "--state-dir", r.state); err != nil || code != 0 {
		t.Fatalf("exit code %d, %v\n%s", code, err, out)
	}
	s := web()
	r.serve(t, s, r.both()...)
	t.Run("without it the agent ends and names it", r.testNoCapability)
	t.Run("with all others and without it the agent ends and names it", r.testAllOtherCapabilities)
	t.Run("while somebody has the name of its lock it ends and says who", r.testTakenLock)
	t.Run("whether or not somebody listens there", r.testBoundLock)
	r.confined(t)
	t.Run("it has that and nothing else", r.testConfinement)
	t.Run("there is no program but itself and nft", testPrograms)
	t.Run("it serves", r.served)
	t.Run("it follows a change", func(t *testing.T) { r.testChange(t, s) })
	t.Run("the kernel loads the scheduler of a Service for it, of those that are allowed", r.testSchedulerModules)
	t.Run("it drains", func(t *testing.T) { r.testOpenConnection(t, s) })
	must(t, r.Endpoints(s, r.both()))
	eventually(t, "two real servers", func() error { return r.hasReals(t, 2) })
	t.Run("it mends what others flush", r.testFlush)
	t.Run("it restarts and writes nothing", func(t *testing.T) { r.testQuietRestart(t, r.confined) })
	t.Run("cleanup, which is privileged, leaves nothing", r.testPrivilegedCleanup)
}

// confined starts the agent and waits until it is ready.
func (r *rig) confined(t *testing.T) {
	t.Helper()
	r.agent = r.launchConfined(t, netAdmin, oftenAudited, "--allowed-schedulers=rr,ovf")
	eventually(t, "the agent is ready", func() error { return r.agent.Ready(t.Context()) })
}

// testChange takes an endpoint away and gives it back.
func (r *rig) testChange(t *testing.T, s agent.Service) {
	must(t, r.Endpoints(s, r.both()[:1]))
	eventually(t, "one real server", func() error { return r.hasReals(t, 1) })
	must(t, r.Endpoints(s, r.both()))
	eventually(t, "two real servers", func() error { return r.hasReals(t, 2) })
}

func (r *rig) testFlush(t *testing.T) {
	isBack := r.remember(t)
	r.run(t, "", "ipvsadm", "-C")
	r.run(t, "", "nft", "flush", "ruleset")
	eventually(t, "all is as it was", isBack)
}

// testQuietRestart ends the agent, which leaves all as it is, and so does its successor.
func (r *rig) testQuietRestart(t *testing.T, start func(*testing.T)) {
	isBack := r.remember(t)
	r.stop(t)
	r.served(t)
	start(t)
	if n := r.operations(t); n != 0 {
		t.Errorf("%d writes", n)
	}
	must(t, isBack())
}

func (r *rig) testNoCapability(t *testing.T) { r.endsBecause(t, r.launchConfined(t, nil), "NET_ADMIN") }

// testAllOtherCapabilities shows that no other capability stands in for it.
func (r *rig) testAllOtherCapabilities(t *testing.T) {
	var others []uintptr
	for c := uintptr(0); c <= unix.CAP_LAST_CAP; c++ {
		if c != unix.CAP_NET_ADMIN {
			others = append(others, c)
		}
	}
	r.endsBecause(t, r.launchConfined(t, others), "NET_ADMIN")
}

// nobody is a user without privileges.
const nobody = 65534

// testTakenLock has somebody without privileges hold the name of the lock: the kernel tells as whom its holder listens.
func (r *rig) testTakenLock(t *testing.T) {
	fd := r.takeLock(t)
	listening := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread is of no use to others any more
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, nobody, nobody, nobody); errno != 0 {
			listening <- errno
			return
		}
		listening <- unix.Listen(fd, 8)
	}()
	must(t, <-listening)
	r.endsBecause(t, r.launchConfined(t, netAdmin), fmt.Sprintf("process %d (", os.Getpid()),
		fmt.Sprintf(", user %d), which is neither root's nor yours, has taken the name @kube-ipvs/writer", nobody))
}

// testBoundLock has the name taken by somebody who answers nobody. The agent has no right to see whose descriptors are which, but it
// is told the user.
func (r *rig) testBoundLock(t *testing.T) {
	r.takeLock(t)
	r.endsBecause(t, r.launchConfined(t, netAdmin), "a program of user 0 that cannot be seen from here has taken the name @kube-ipvs/writer",
		"and does not answer, as an agent would: end it")
}

// takeLock binds the name of the lock until the test ends.
func (r *rig) takeLock(t *testing.T) (fd int) {
	t.Helper()
	must(t, r.Node1.Do(func() (err error) {
		if fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrUnix{Name: "@kube-ipvs/writer"})
	}))
	t.Cleanup(func() { _ = unix.Close(fd) })
	return fd
}

// endsBecause requires that an agent ends by itself, says this, and has written nothing.
func (r *rig) endsBecause(t *testing.T, a *agent.Agent, reasons ...string) {
	t.Helper()
	eventually(t, "the agent ends", func() error {
		select {
		case <-a.Ended():
			return nil
		default:
			return errors.New("it runs")
		}
	})
	for _, reason := range reasons {
		if !strings.Contains(strings.ReplaceAll(a.Log(), `\"`, `"`), reason) { // a log quotes
			t.Errorf("it does not say %q:\n%s", reason, a.Log())
		}
	}
	if table := r.table(t); len(table) > 0 {
		t.Errorf("it wrote %v", table)
	}
}

// testPrograms looks at what the image has: the agent can start nothing else in its container.
func testPrograms(t *testing.T) {
	var programs []string
	must(t, filepath.WalkDir(imageRoot, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == imageRoot+"/proc" {
			return cmp.Or(err, fs.SkipDir)
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		executable := info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0
		if library := strings.Contains(d.Name(), ".so"); executable && !library {
			programs = append(programs, strings.TrimPrefix(path, imageRoot))
		}
		return nil
	}))
	if want := []string{"/usr/bin/kube-ipvs", "/usr/sbin/nft"}; !slices.Equal(programs, want) {
		t.Errorf("there are %v, want %v", programs, want)
	}
}

// testSchedulerModules shows what the capability is good for beyond the netlink sockets: the kernel loads modules by the names in them.
func (r *rig) testSchedulerModules(t *testing.T) {
	loaded := func(name string) bool {
		modules, err := os.ReadFile("/proc/modules")
		must(t, err)
		return strings.Contains("\n"+string(modules), "\nip_vs_"+name+" ")
	}
	for _, name := range []string{"ovf", "dh"} { // an earlier test may have had them
		if err := unix.DeleteModule("ip_vs_"+name, 0); err != nil && !errors.Is(err, unix.ENOENT) {
			t.Fatalf("unload ip_vs_%s: %v", name, err)
		}
	}
	allowed := annotated("allowed", internalPort, "scheduler", "ovf")
	forbidden := annotated("forbidden", externalPort, "scheduler", "dh")
	must(t, r.Service(allowed))
	must(t, r.Service(forbidden))
	eventually(t, "both Services are served", func() error {
		served := map[uint16]string{}
		for k, entry := range r.table(t) {
			served[k.Port] = entry.Scheduler
		}
		if served[internalPort] != "ovf" || served[externalPort] != "rr" {
			return fmt.Errorf("schedulers by port: %v", served)
		}
		return nil
	})
	if !loaded("ovf") || loaded("dh") {
		t.Errorf("ip_vs_ovf is loaded: %v, ip_vs_dh: %v", loaded("ovf"), loaded("dh"))
	}
	must(t, r.Remove(allowed))
	must(t, r.Remove(forbidden))
	eventually(t, "they are gone", func() error {
		for k := range r.table(t) {
			if k.Port != nodePort {
				return fmt.Errorf("%s is there", k)
			}
		}
		return nil
	})
}

// testConfinement asks the kernel what the process may: that the confinement is there is not taken for granted.
func (r *rig) testConfinement(t *testing.T) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", r.agent.PID()))
	must(t, err)
	netAdmin := fmt.Sprintf("%016x", 1<<unix.CAP_NET_ADMIN)
	for field, want := range map[string]string{
		"CapPrm": netAdmin, "CapEff": netAdmin, "CapBnd": netAdmin, "CapAmb": "0000000000000000", "NoNewPrivs": "1", "Seccomp": "2",
	} {
		if !strings.Contains(string(status), "\n"+field+":\t"+want+"\n") {
			t.Errorf("%s is not %s in\n%s", field, want, status)
		}
	}
	mounts, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", r.agent.PID()))
	must(t, err)
	for _, place := range []string{"/", "/proc/sys", r.Dir, r.state} {
		readOnly := false
		for line := range strings.Lines(string(mounts)) {
			if f := strings.Fields(line); len(f) > 5 && f[4] == place { // as seen from its root
				readOnly = strings.HasPrefix(f[5], "ro")
			}
		}
		if !readOnly {
			t.Errorf("%s can be written:\n%s", place, mounts)
		}
	}
}

// testPrivilegedCleanup is the one thing that needs more: it gives sysctls back.
func (r *rig) testPrivilegedCleanup(t *testing.T) {
	r.stop(t)
	out, code, err := agent.Cleanup(t.Context(), r.Node1, "--state-dir", r.state)
	if err != nil || code != 0 {
		t.Errorf("exit code %d, %v\n%s", code, err, out)
	}
	if got := r.sysctl(t, "ipv4/vs/conntrack"); got != "0" {
		t.Errorf("net.ipv4.vs.conntrack is %s", got)
	}
	r.refused(t, topo.TCP, at(r.Node1.A4))
	if entry, served := r.table(t)[key(r.Node1.A4, frontend.TCP)]; served {
		t.Errorf("it is served: %v", entry)
	}
}
