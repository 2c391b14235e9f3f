//go:build kernel

package count_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kube-ipvs/kube-ipvs/e2e/bench/count"
	"github.com/kube-ipvs/kube-ipvs/e2e/bench/result"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
)

const patience = 60 * time.Second

// program is one that is counted and does as it is told.
type program struct {
	*count.Process
	*worker
}

// worker does as it is told.
type worker struct {
	t      testing.TB
	socket net.Conn
	lines  *bufio.Scanner
}

// startProgram starts one in this namespace; nothing of it is watched yet.
func startProgram(t testing.TB) *program {
	t.Helper()
	return startProgramOn(t, topo.Here("here"))
}

func startProgramOn(t testing.TB, host *topo.Host) *program {
	t.Helper()
	p := &program{}
	p.worker = startWorker(t, func(name string, args ...string) {
		before := time.Now()
		var err error
		if p.Process, err = count.Start(host, os.Stderr, name, args...); err != nil {
			t.Fatal(err)
		}
		t.Logf("Start took %v", time.Since(before))
		t.Cleanup(func() {
			if err := p.End(syscall.SIGTERM, patience); err != nil {
				t.Error(err)
			}
		})
	})
	return p
}

// startWorker starts one in the way given.
func startWorker(t testing.TB, start func(name string, args ...string)) *worker {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(t.TempDir(), "socket")
	l, err := new(net.ListenConfig).Listen(t.Context(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	start(self, "program", socket)
	if err := l.(*net.UnixListener).SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &worker{t, c, bufio.NewScanner(c)}
}

// do lets the program work.
func (w *worker) do(what string, n int) {
	w.t.Helper()
	if _, err := fmt.Fprintln(w.socket, what, n); err != nil {
		w.t.Fatal(err)
	}
	if !w.lines.Scan() || w.lines.Text() != "done" {
		w.t.Fatalf("%s %d: %s %v", what, n, w.lines.Text(), w.lines.Err())
	}
}

func (p *program) watch(on bool) {
	p.t.Helper()
	if err := p.Watch(on); err != nil {
		p.t.Fatal(err)
	}
}

func (p *program) usage() result.Usage {
	p.t.Helper()
	u, err := p.Usage()
	if err != nil {
		p.t.Fatal(err)
	}
	return u
}

// watched is what the program did for some work.
func (p *program) watched(what string, n int) result.Usage {
	p.t.Helper()
	before := p.usage()
	p.watch(true)
	p.do(what, n)
	p.watch(false)
	u := minus(p.usage(), before)
	p.t.Logf("%s %d: %+v", what, n, u)
	return u
}

func minus(a, b result.Usage) result.Usage {
	return result.Usage{
		CPU: a.CPU - b.CPU, Syscalls: a.Syscalls - b.Syscalls, Execs: a.Execs - b.Execs,
		IPVSWrites: a.IPVSWrites - b.IPVSWrites, IPVSReads: a.IPVSReads - b.IPVSReads,
		NftWrites: a.NftWrites - b.NftWrites, NftCommits: a.NftCommits - b.NftCommits, NftReads: a.NftReads - b.NftReads,
		IpsetWrites: a.IpsetWrites - b.IpsetWrites, NetlinkSends: a.NetlinkSends - b.NetlinkSends, IptablesWrites: a.IptablesWrites - b.IptablesWrites,
	}
}

// messages is u without what depends on the language's runtime and on tools' own reading.
func messages(u result.Usage) result.Usage {
	u.CPU, u.Syscalls, u.NftReads, u.NetlinkSends = 0, 0, 0, 0
	return u
}

func TestEachMessageToTheKernelIsCounted(t *testing.T) {
	network, err := topo.New(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := network.Close(); err != nil {
			t.Error(err)
		}
	})
	p := startProgramOn(t, network.Node1)
	const n = 10
	tests := []struct {
		what string
		n    int
		want result.Usage
	}{
		// ipvsadm asks for the version of IPVS first.
		{"ipvsadm", n, result.Usage{Execs: n, IPVSWrites: n, IPVSReads: n}},
		// moby/ipvs runs modprobe once.
		{"services", 600, result.Usage{Execs: 1, IPVSWrites: 600}},
		{"dump", 3, result.Usage{IPVSReads: 2 * 3}},
		// A table, a chain, a set, its elements in two messages, and rules.
		{"nft", n, result.Usage{Execs: 1, NftWrites: 5 + n, NftCommits: 1}},
		{"ipset", n, result.Usage{IpsetWrites: 2*n + 2}},
		{"iptables", n, result.Usage{IptablesWrites: n}},
	}
	for _, tt := range tests {
		t.Run(tt.what, func(t *testing.T) {
			p.t = t
			u := p.watched(tt.what, tt.n)
			if d := cmp.Diff(tt.want, messages(u)); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			sends := u.IPVSWrites + u.IPVSReads + u.IpsetWrites + u.NftCommits + u.NftReads
			if u.NetlinkSends < sends || u.NetlinkSends > 3*sends {
				t.Errorf("%d system calls on netlink for %d messages", u.NetlinkSends, sends)
			}
			if tt.what == "nft" && u.NftReads == 0 {
				t.Error("nft asked for nothing")
			}
		})
	}
	p.t = t
	if d := cmp.Diff(result.Usage{}, messages(p.watched("calls", 1))); d != "" {
		t.Errorf("there is more than was done (-want +got):\n%s", d)
	}
}

func TestAllThreadsAndChildrenAreCounted(t *testing.T) {
	p := startProgram(t)
	const n = 20000
	const all = 2 * threads * n
	if got := p.watched("calls everywhere", n); got.Syscalls < all || got.Syscalls > all+all/10 || got.Execs != threads {
		t.Errorf("%d system calls and %d executed programs, want little more than %d, and %d", got.Syscalls, got.Execs, all, threads)
	}
}

// The threads that the program has by now have inherited counters that stood still.
func TestWhatIsNotWatchedIsNotCounted(t *testing.T) {
	p := startProgram(t)
	const n = 10000
	p.do("calls everywhere", n)
	if u := p.usage(); u.Syscalls != 0 || u.Execs != 0 || u.CPU == 0 {
		t.Errorf("counted before Watch: %+v", u)
	}
	p.watched("calls everywhere", n)
	before := p.usage()
	p.do("calls everywhere", n)
	if u := minus(p.usage(), before); u.Syscalls != 0 || u.Execs != 0 || u.CPU == 0 {
		t.Errorf("counted after Watch: %+v", u)
	}
	if u := p.watched("calls everywhere", n); u.Syscalls < 2*threads*n || u.Execs != threads {
		t.Errorf("watched again: %+v", u)
	}
}

func TestCPUTimeIsThatOfTheProcessAndItsChildren(t *testing.T) {
	p := startProgram(t)
	before, statBefore := p.usage().CPU, stat(t, p.PID())
	p.do("burn everywhere", 400)
	got, want := p.usage().CPU-before, stat(t, p.PID())-statBefore
	t.Logf("CPU %v, of /proc/PID/stat %v", got, want)
	if want < threads*2*400*time.Millisecond {
		t.Errorf("/proc/PID/stat has %v", want)
	}
	if d := (got - want).Abs(); d > want/20 {
		t.Errorf("CPU %v, want %v", got, want)
	}
}

// stat is the CPU time of a process and of its children that have ended, by proc(5).
func stat(t *testing.T, pid int) time.Duration {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	fields := strings.Fields(rest)
	var ticks int
	for _, f := range fields[11:15] {
		n, err := strconv.Atoi(f)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / 100
}

func TestMemoryIsThatOfTheProgram(t *testing.T) {
	p := startProgram(t)
	now, peak, err := p.Memory()
	if err != nil || now < 1<<20 || peak < now {
		t.Errorf("memory %d, at most %d, %v", now, peak, err)
	}
}

func TestWhatWasCountedStaysAfterTheEnd(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	p, err := count.Start(topo.Here("here"), &log, self, "work", "burn", "200")
	if err != nil {
		t.Fatal(err)
	}
	<-p.Ended()
	if u, err := p.Usage(); err != nil || u.CPU < 200*time.Millisecond || log.Len() > 0 {
		t.Errorf("%+v %v %s", u, err, &log)
	}
	if err := p.Watch(true); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("Watch: %v", err)
	}
	if err := p.End(syscall.SIGTERM, patience); err != nil {
		t.Error(err)
	}
}

func TestAProgramThatFailsByItselfIsAnError(t *testing.T) {
	var log bytes.Buffer
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p, err := count.Start(topo.Here("here"), &log, self, "work", "nothing", "1")
	if err != nil {
		t.Fatal(err)
	}
	<-p.Ended()
	var exit *exec.ExitError
	if err := p.End(syscall.SIGTERM, patience); !errors.As(err, &exit) || !strings.Contains(log.String(), "unknown work") {
		t.Errorf("%v, log %q", err, &log)
	}
}

func TestAProgramThatIsNotThereIsNotStarted(t *testing.T) {
	p, err := count.Start(topo.Here("here"), os.Stderr, "no-such-program")
	if err == nil || !strings.Contains(err.Error(), "no-such-program") {
		t.Errorf("%v %v", p, err)
	}
}
