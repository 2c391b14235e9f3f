//go:build kernel

package e2e

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"unsafe"

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
	t.Run("while somebody has the name of its lock it ends and says who", r.testTakenLock)
	r.confined(t)
	t.Run("it has that and nothing else", r.testConfinement)
	t.Run("it serves", r.served)
	t.Run("it follows a change", func(t *testing.T) {
		must(t, r.Endpoints(s, r.both()[:1]))
		eventually(t, "one real server", func() error { return r.hasReals(t, 1) })
		must(t, r.Endpoints(s, r.both()))
		eventually(t, "two real servers", func() error { return r.hasReals(t, 2) })
	})
	t.Run("it drains", func(t *testing.T) { r.testOpenConnection(t, s) })
	must(t, r.Endpoints(s, r.both()))
	eventually(t, "two real servers", func() error { return r.hasReals(t, 2) })
	t.Run("it mends what others flush", func(t *testing.T) {
		isBack := r.remember(t)
		r.run(t, "", "ipvsadm", "-C")
		r.run(t, "", "nft", "flush", "ruleset")
		eventually(t, "all is as it was", isBack)
	})
	t.Run("it restarts and writes nothing", func(t *testing.T) {
		isBack := r.remember(t)
		r.stop(t)
		r.served(t)
		r.confined(t)
		if n := r.operations(t); n != 0 {
			t.Errorf("%d writes", n)
		}
		must(t, isBack())
	})
	t.Run("cleanup, which is privileged, leaves nothing", r.testPrivilegedCleanup)
}

// confined starts the agent and waits until it is ready.
func (r *rig) confined(t *testing.T) {
	t.Helper()
	r.agent = r.launchConfined(t, netAdmin, oftenAudited)
	eventually(t, "the agent is ready", func() error { return r.agent.Ready(t.Context()) })
}

func (r *rig) testNoCapability(t *testing.T) { r.endsBecause(t, r.launchConfined(t, nil), "NET_ADMIN") }

// testTakenLock has somebody without privileges hold the name of the lock: the kernel tells as whom its holder listens.
func (r *rig) testTakenLock(t *testing.T) {
	var fd int
	must(t, r.Node1.Do(func() (err error) {
		if fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrUnix{Name: "@kube-ipvs/writer"})
	}))
	defer unix.Close(fd)
	listening := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread is of no use to others any more
		const nobody = 65534
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, nobody, nobody, nobody); errno != 0 {
			listening <- errno
			return
		}
		listening <- unix.Listen(fd, 8)
	}()
	must(t, <-listening)
	r.endsBecause(t, r.launchConfined(t, netAdmin), fmt.Sprintf("process %d", os.Getpid()))
}

// endsBecause requires that an agent ends by itself, says this, and has written nothing.
func (r *rig) endsBecause(t *testing.T, a *agent.Agent, reason string) {
	t.Helper()
	eventually(t, "the agent ends", func() error {
		select {
		case <-a.Ended():
			return nil
		default:
			return errors.New("it runs")
		}
	})
	if !strings.Contains(a.Log(), reason) {
		t.Errorf("it does not say %q:\n%s", reason, a.Log())
	}
	if table := r.table(t); len(table) > 0 {
		t.Errorf("it wrote %v", table)
	}
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

// refuseSyscalls makes the kernel refuse this thread, and what it starts, the system calls that the container runtimes' default
// profiles refuse a container with NET_ADMIN alone. Two of them are missing, for what starts the agent needs them, and the
// agent has no capability for them: setns and chroot.
func refuseSyscalls() error {
	refused := []uint32{
		unix.SYS_ACCT, unix.SYS_ADD_KEY, unix.SYS_ADJTIMEX, unix.SYS_BPF, unix.SYS_CLOCK_ADJTIME, unix.SYS_CLOCK_SETTIME, unix.SYS_DELETE_MODULE,
		unix.SYS_FANOTIFY_INIT, unix.SYS_FINIT_MODULE, unix.SYS_FSCONFIG, unix.SYS_FSMOUNT, unix.SYS_FSOPEN, unix.SYS_FSPICK,
		unix.SYS_GET_MEMPOLICY, unix.SYS_INIT_MODULE, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER, unix.SYS_IO_URING_SETUP, unix.SYS_KCMP,
		unix.SYS_KEXEC_FILE_LOAD, unix.SYS_KEXEC_LOAD, unix.SYS_KEYCTL, unix.SYS_MBIND, unix.SYS_MOUNT, unix.SYS_MOUNT_SETATTR,
		unix.SYS_MOVE_MOUNT, unix.SYS_MOVE_PAGES, unix.SYS_OPEN_BY_HANDLE_AT, unix.SYS_OPEN_TREE, unix.SYS_PERF_EVENT_OPEN,
		unix.SYS_PIVOT_ROOT, unix.SYS_QUOTACTL, unix.SYS_REBOOT, unix.SYS_REQUEST_KEY, unix.SYS_SETDOMAINNAME, unix.SYS_SETHOSTNAME,
		unix.SYS_SET_MEMPOLICY, unix.SYS_SETTIMEOFDAY, unix.SYS_SWAPOFF, unix.SYS_SWAPON, unix.SYS_SYSLOG, unix.SYS_UMOUNT2,
		unix.SYS_UNSHARE, unix.SYS_USERFAULTFD, unix.SYS_VHANGUP,
	}
	const newNamespaces = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWUSER |
		unix.CLONE_NEWPID | unix.CLONE_NEWNET
	load := func(offset uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
	}
	unless := func(test uint16, k uint32, skip uint8) unix.SockFilter { // skips so many where it is not so
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_K | test, Jf: skip, K: k}
	}
	give := func(answer uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: answer}
	}
	refuse := func(errno unix.Errno) unix.SockFilter { return give(unix.SECCOMP_RET_ERRNO | uint32(errno)) }
	program := []unix.SockFilter{load(0)} // seccomp_data.nr
	for _, nr := range refused {
		program = append(program, unless(unix.BPF_JEQ, nr, 1), refuse(unix.EPERM))
	}
	program = append(program,
		unless(unix.BPF_JEQ, unix.SYS_CLONE3, 1), refuse(unix.ENOSYS), // its flags cannot be seen from here
		unless(unix.BPF_JEQ, unix.SYS_CLONE, 3),
		load(16), // the lower half of args[0]
		unless(unix.BPF_JSET, newNamespaces, 1), refuse(unix.EPERM),
		give(unix.SECCOMP_RET_ALLOW))
	filter := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	if err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&filter)), 0, 0); err != nil {
		return fmt.Errorf("seccomp filter: %w", err)
	}
	return nil
}
