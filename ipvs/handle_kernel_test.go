//go:build kernel && linux

package ipvs_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"

	moby "github.com/moby/ipvs"
	"github.com/vishvananda/netns"

	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

func TestAMissingFamilyIsNamedWithTheRemedy(t *testing.T) {
	if err := ipvs.LookUpFamily(t.Context(), "IPVS"); err != nil {
		t.Fatal(err)
	}
	if err := ipvs.LookUpFamily(t.Context(), "NOSUCH"); !errors.Is(err, ipvs.ErrNoIPVS) {
		t.Errorf("%v, want %v", err, ipvs.ErrNoIPVS)
	}
}

func TestAHandleForAnotherNamespaceWritesThereAndNowhereElse(t *testing.T) {
	here := open(t, ipvs.Options{})
	var (
		path   string
		inside ipvs.Handle
	)
	inFreshNamespace(t, func() {
		inside = open(t, ipvs.Options{})
		ns, err := netns.Get()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = ns.Close() })
		path = fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), int(ns))
	})
	before := namespaceOfThread(t)
	there := open(t, ipvs.Options{Namespace: path})
	if after := namespaceOfThread(t); after != before {
		t.Errorf("Open left the thread in %s, it came from %s", after, before)
	}
	want := services(3, 2, "10.1.0.10")
	program(t, there, want)
	timeouts := ipvs.Timeouts{TCP: time.Hour, TCPFin: time.Hour, UDP: time.Hour}
	if err := there.SetTimeouts(t.Context(), timeouts); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		wantTable(t, "written there", list(t, there), want)
		wantTable(t, "seen there by a handle that was opened inside", list(t, inside), want)
		wantTable(t, "the table of this namespace", list(t, here), ipvs.Table{})
		ipvs.GiveUp(there) // What is opened anew is opened there too.
	}
	if got, err := here.Timeouts(t.Context()); err != nil || got == timeouts {
		t.Errorf("timeouts here are %v, %v", got, err)
	}
	if _, err := ipvs.Open(ipvs.Options{Namespace: "/nowhere"}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a namespace that does not exist: %v", err)
	}
	if _, err := ipvs.Open(ipvs.Options{Namespace: "/dev/null"}); err == nil {
		t.Error("a file that is no namespace was opened")
	}
}

func namespaceOfThread(t *testing.T) string {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	ns, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	return ns
}

func TestAfterAnExchangeThatWasGivenUpTheNextCallWorks(t *testing.T) {
	h := openFresh(t)
	want := services(2, 2, "10.1.0.10")
	program(t, h, want)
	ipvs.GiveUp(h)
	wantTable(t, "after the socket was lost", list(t, h), want)
	ipvs.GiveUp(h)
	program(t, h, services(1, 1, "10.9.0.9"))
	ipvs.GiveUp(h)
	if _, err := h.Timeouts(t.Context()); err != nil {
		t.Error(err)
	}
}

// Every operation of the batch fails, and most of the answers do not fit into the receive buffer.
func TestAnswersThatTheKernelDropsMakeOperationsUnknown(t *testing.T) {
	h := openFresh(t)
	table := services(100, 9, "10.1.0.10")
	program(t, h, table)
	if err := ipvs.ShrinkReceiveBuffer(h); err != nil {
		t.Fatal(err)
	}
	unknown, exist := 0, 0
	for _, err := range h.Do(t.Context(), ipvs.Diff(nil, table)) {
		switch {
		case errors.Is(err, ipvs.ErrUnknown):
			unknown++
		case ipvs.IsExist(err):
			exist++
		default:
			t.Errorf("%v, want EEXIST or unknown", err)
		}
	}
	t.Logf("%d answers of 1000 came", exist)
	if unknown == 0 || exist == 0 {
		t.Errorf("%d unknown, %d EEXIST: the buffer was meant to hold some and not all", unknown, exist)
	}
	if r := ipvs.Apply(t.Context(), h, ipvs.Diff(nil, table)); len(r.Uncertain) == 0 || len(r.Failed) != 0 {
		t.Errorf("%d uncertain, failed: %v", len(r.Uncertain), r.Failed)
	}
	key := table.Keys()[0]
	if err := h.Do(t.Context(), []ipvs.Op{{Verb: ipvs.DelVirtual, Key: key}})[0]; err != nil {
		t.Errorf("the socket is of no use after that: %v", err)
	}
	delete(table, key)
	wantTable(t, "after that", list(t, h), table)
}

// A dump is its real servers and its end, and of a virtual server that is gone its end alone. Get asks for the virtual server
// besides.
func TestRealServersAreComparedInOneExchange(t *testing.T) {
	h := openFresh(t)
	table := services(1, 10, "10.1.0.10")
	program(t, h, table)
	key := table.Keys()[0]
	reals := table[key].Reals
	takes := func(what string, want ipvs.Reads, call func()) {
		t.Helper()
		n := ipvs.CountExchanges(h)
		call()
		if *n != want {
			t.Errorf("%s took %+v, want %+v", what, *n, want)
		}
	}
	compare := func(want bool) func() {
		return func() {
			told := map[netip.AddrPort]int{}
			same, err := h.SameReals(t.Context(), key, reals, func(addr netip.AddrPort, _ ipvs.Connections) { told[addr]++ })
			if same != want || err != nil || len(told) != len(reals) && want {
				t.Errorf("the same: %t, %v, %d were told of", same, err, len(told))
			}
		}
	}
	takes("a comparison", ipvs.Reads{Requests: 1, Answers: 2, Messages: 11}, compare(true))
	takes("Get", ipvs.Reads{Requests: 2, Answers: 3, Messages: 12}, func() {
		if e, _, err := h.Get(t.Context(), key); !e.Equal(table[key]) || err != nil {
			t.Error(e, err)
		}
	})
	if err := h.Do(t.Context(), []ipvs.Op{{Verb: ipvs.DelVirtual, Key: key}})[0]; err != nil {
		t.Fatal(err)
	}
	takes("a comparison with nothing", ipvs.Reads{Requests: 1, Answers: 1, Messages: 1}, compare(false))
}

// ProbeScheduler would delete what a probe has made; on this kernel there is never anything to delete.
func TestAProbeAsksForWhatTheKernelRefusesAfterItsLookUp(t *testing.T) {
	h := openFresh(t)
	for scheduler, want := range map[string]error{"rr": syscall.EINVAL, "mh": syscall.EINVAL, "nosuch": syscall.ENOENT} {
		if err := ipvs.ProbeIPv6(t.Context(), h, scheduler); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", scheduler, err, want)
		}
	}
}

func TestAProbeWithoutIPv6LeavesNothing(t *testing.T) {
	h := openFresh(t)
	if err := ipvs.ProbeIPv4(t.Context(), h, "wrr"); err != nil {
		t.Error(err)
	}
	if err := ipvs.ProbeIPv4(t.Context(), h, "nosuch"); !ipvs.IsUnknownScheduler(err) {
		t.Errorf("%v, want an unknown scheduler", err)
	}
	wantTable(t, "after the probes", list(t, h), ipvs.Table{})
}

// moby/ipvs is the second opinion: what it wrote is read as it was meant, and what it reads is what was written.
func TestTimeoutsAreThoseThatMobyReadsAndWrites(t *testing.T) {
	var h ipvs.Handle
	var m *moby.Handle
	inFreshNamespace(t, func() { h, m = open(t, ipvs.Options{}), openMoby(t) })
	if err := m.SetConfig(&moby.Config{TimeoutTCP: time.Hour, TimeoutTCPFin: time.Minute, TimeoutUDP: time.Second}); err != nil {
		t.Fatal(err)
	}
	if got, err := h.Timeouts(t.Context()); err != nil || got != (ipvs.Timeouts{TCP: time.Hour, TCPFin: time.Minute, UDP: time.Second}) {
		t.Errorf("%v, %v", got, err)
	}
	if err := h.SetTimeouts(t.Context(), ipvs.Timeouts{TCPFin: 90 * time.Second}); err != nil {
		t.Fatal(err)
	}
	if got, err := m.GetConfig(); err != nil || *got != (moby.Config{TimeoutTCP: time.Hour, TimeoutTCPFin: 90 * time.Second, TimeoutUDP: time.Second}) {
		t.Errorf("%v, %v", got, err)
	}
}

func TestVirtualServersWithAFirewallMarkAreLeftOut(t *testing.T) {
	var h ipvs.Handle
	var m *moby.Handle
	inFreshNamespace(t, func() { h, m = open(t, ipvs.Options{}), openMoby(t) })
	mark := &moby.Service{FWMark: 7, AddressFamily: syscall.AF_INET, SchedName: "rr", Netmask: 0xffffffff}
	if err := m.NewService(mark); err != nil {
		t.Fatal(err)
	}
	real := &moby.Destination{AddressFamily: syscall.AF_INET, Address: []byte{10, 244, 1, 2}, Port: 80, Weight: 1}
	if err := m.NewDestination(mark, real); err != nil {
		t.Fatal(err)
	}
	want := services(1, 1, "10.1.0.10")
	program(t, h, want)
	wantTable(t, "the list", list(t, h), want)
}

// Dumps are no snapshots: while another writer is at work entries may be missing, but none is wrong or foreign.
func TestAListWhileSomebodyWritesHasNothingWrongInIt(t *testing.T) {
	var h, other ipvs.Handle
	inFreshNamespace(t, func() { h, other = open(t, ipvs.Options{}), open(t, ipvs.Options{}) })
	still, moving := services(1000, 2, "10.1.0.10"), services(300, 2, "10.2.0.10")
	program(t, h, still)
	list(t, h)
	ctx, stop := context.WithCancel(t.Context())
	churned := make(chan int, 1)
	go func() {
		n := 0
		for ; ctx.Err() == nil; n++ {
			other.Do(ctx, ipvs.Diff(nil, moving))
			other.Do(ctx, ipvs.Diff(moving, nil))
		}
		churned <- n
	}()
	missing := 0
	for range 10 {
		got := list(t, h)
		for key, e := range got {
			want, stays := still[key]
			if !stays {
				want = moving[key]
			}
			if e.VirtualServer != want.VirtualServer {
				t.Errorf("%s is %v, want %v", key, e.VirtualServer, want.VirtualServer)
			}
			for addr, r := range e.Reals {
				if r != want.Reals[addr] {
					t.Errorf("%s %s is %v, want %v", key, addr, r, want.Reals[addr])
				}
			}
		}
		missing += len(still) - len(got.Only(still.Keys()))
	}
	stop()
	t.Logf("%d of 10,000 untouched virtual servers were missing in 10 lists, during %d rounds of the other writer", missing, <-churned)
	program(t, h, still)
	wantTable(t, "when all is quiet", list(t, h).Only(still.Keys()), still)
}

func openFresh(t *testing.T) (h ipvs.Handle) {
	t.Helper()
	inFreshNamespace(t, func() { h = open(t, ipvs.Options{}) })
	return h
}

// program writes a table, on top of what is there.
func program(t *testing.T, h ipvs.Handle, table ipvs.Table) {
	t.Helper()
	for _, err := range h.Do(t.Context(), ipvs.Diff(nil, table)) {
		if err != nil && !ipvs.IsExist(err) {
			t.Fatal(err)
		}
	}
}

func list(t *testing.T, h ipvs.Handle) ipvs.Table {
	t.Helper()
	table, err := h.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func TestASocketThatWasClosedFailsOneCallOnly(t *testing.T) {
	h := open(t, ipvs.Options{})
	want := services(3, 2, "10.1.0.10")
	program(t, h, want)
	for key := range want {
		ipvs.CloseSocket(h)
		op := ipvs.Op{Verb: ipvs.DelVirtual, Key: key}
		if err := errors.Join(h.Do(t.Context(), []ipvs.Op{op, op})...); !errors.Is(err, syscall.EBADF) {
			t.Fatalf("%v, want %v", err, syscall.EBADF)
		}
		if err := errors.Join(h.Do(t.Context(), []ipvs.Op{op})...); err != nil { // nobody read in between
			t.Fatal(err)
		}
	}
	wantTable(t, "afterwards", list(t, h), ipvs.Table{})
}
