package sync

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

// drainCase says what is wanted, what is known of the departing real server, and what becomes of it.
type drainCase struct {
	name      string
	protocol  frontend.Protocol
	scheduler string
	want      []string // endpoints; nil if the Service is gone
	quiet     bool     // it terminates and still serves
	known     *departure
	stays     bool // whether it is still there
	departure *departure
}

// The rules of drain one by one. The kernel has one real server, leaves.
func TestDrainRules(t *testing.T) {
	const timeout = time.Minute
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	ago := func(since, busy time.Duration) *departure {
		return &departure{since: now.Add(-since), dead: now.Add(-since), busy: now.Add(-busy), looked: now}
	}
	fresh := ago(0, 0)
	unseen := &departure{since: now.Add(-30 * time.Second), dead: now.Add(-30 * time.Second), busy: now.Add(-20 * time.Second), looked: now.Add(-20 * time.Second)}
	for _, c := range []drainCase{
		{"a new departure begins its clock", frontend.TCP, "rr", []string{stays}, false, nil, true, fresh},
		{"SCTP waits as TCP does", frontend.SCTP, "rr", []string{stays}, false, nil, true, fresh},
		{"UDP goes at once", frontend.UDP, "rr", []string{stays}, false, nil, false, nil},
		{"dh goes at once", frontend.TCP, "dh", []string{stays}, false, nil, false, nil},
		{"sh falls back, so it waits", frontend.TCP, "sh", []string{stays}, false, nil, true, fresh},
		{"mh falls back, so it waits", frontend.TCP, "mh", []string{stays}, false, nil, true, fresh},
		{"a clock that runs goes on", frontend.TCP, "rr", []string{stays}, false, ago(30*time.Second, time.Second), true, ago(30*time.Second, time.Second)},
		{"short of the settling time", frontend.TCP, "rr", []string{stays}, false, ago(30*time.Second, settle-1), true, ago(30*time.Second, settle-1)},
		{"idle for the settling time", frontend.TCP, "rr", []string{stays}, false, ago(30*time.Second, settle), false, nil},
		{"busy when it was last looked at", frontend.TCP, "rr", []string{stays}, false, unseen, true, unseen},
		{"busy short of the timeout", frontend.TCP, "rr", []string{stays}, false, ago(timeout-1, 0), true, ago(timeout-1, 0)},
		{"busy at the timeout", frontend.TCP, "rr", []string{stays}, false, ago(timeout, 0), false, nil},
		{"quiet has no clock", frontend.TCP, "rr", []string{stays}, true, nil, true, nil},
		{"quiet forgets the clock that it had", frontend.TCP, "rr", []string{stays}, true, ago(time.Hour, time.Hour), true, nil},
		{"quiet UDP stays", frontend.UDP, "rr", []string{stays}, true, nil, true, nil},
		{"quiet under dh goes: its clients would be refused", frontend.TCP, "dh", []string{stays}, true, nil, false, nil},
		{"wanted again", frontend.TCP, "rr", []string{stays, leaves}, false, ago(time.Hour, time.Hour), true, nil},
		{"the last one of a port that stays open", frontend.UDP, "rr", []string{}, false, nil, false, nil},
		{"the Service is gone", frontend.TCP, "dh", nil, false, nil, true, fresh},
		{"the Service is gone and its connections too", frontend.TCP, "rr", nil, false, ago(settle, settle), false, nil},
		{"the Service of UDP is gone", frontend.UDP, "rr", nil, false, nil, false, nil},
	} {
		t.Run(c.name, func(t *testing.T) { c.check(t, now, timeout) })
	}
}

func (c drainCase) check(t *testing.T, now time.Time, timeout time.Duration) {
	key, addr := frontend.NewKey(netip.MustParseAddr("10.1.0.10"), c.protocol, 30080), netip.MustParseAddrPort(leaves)
	// As another writer may have left it: nothing of it but the weight changes on the way out.
	server := ipvs.RealServer{Forwarding: ipvs.Tunnel, Weight: 7, UpperThreshold: 9, LowerThreshold: 8}
	have := ipvs.Entry{
		VirtualServer: ipvs.VirtualServer{Scheduler: "sh", Flags: ipvs.Sched1},
		Reals:         map[netip.AddrPort]ipvs.RealServer{addr: server},
	}
	server.Weight = 0
	gone := ipvs.Entry{VirtualServer: have.VirtualServer, Reals: map[netip.AddrPort]ipvs.RealServer{addr: server}}
	var want *Frontend
	next := &gone
	if c.want != nil {
		f := desired(Service{}, web(c.want...).Ports[0], key, c.scheduler, filter.MasqueradeAll)
		e := f.Entry.Clone()
		if _, wanted := e.Reals[addr]; c.stays && !wanted {
			e.Reals[addr] = server
		}
		if c.quiet {
			f.Quiet = map[netip.AddrPort]struct{}{addr: {}}
		}
		want, next = &f, &e
	} else if !c.stays {
		next = nil
	}
	leaving := departures{}
	if c.known != nil {
		leaving[addr] = *c.known
	}
	got, still := drain(now, timeout, key, have, want, leaving)
	if diff := cmp.Diff(next, got, cmp.Comparer(ipvs.Entry.Equal)); diff != "" {
		t.Errorf("entry (-want +got):\n%s", diff)
	}
	if d, known := still[addr]; known != (c.departure != nil) || known && d != *c.departure {
		t.Errorf("its departure is %v, %v, want %v", d, known, c.departure)
	}
}

// Hints or a policy have taken a real server out of the choice that is alive.
func TestWhatLivesButIsNotChosenKeepsWhatItHas(t *testing.T) {
	const timeout = time.Minute
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	addr := netip.MustParseAddrPort(leaves)
	long := departures{addr: {since: now.Add(-time.Hour), busy: now, looked: now}}
	dead := departures{addr: {since: now.Add(-time.Hour), dead: now.Add(-timeout), busy: now, looked: now}}
	for _, c := range []struct {
		name      string
		protocol  frontend.Protocol
		scheduler string
		endpoint  string
		known     departures
		stays     bool
	}{
		{"at first", frontend.TCP, "rr", leaves, nil, true},
		{"UDP too", frontend.UDP, "rr", leaves, nil, true},
		{"busy beyond the timeout", frontend.TCP, "rr", leaves, long, true},
		{"UDP in use beyond the timeout", frontend.UDP, "rr", leaves, long, true},
		{"terminating, and still serving", frontend.TCP, "rr", leaves + " terminating", long, true},
		{"idle", frontend.TCP, "rr", leaves, departures{addr: {since: now, busy: now.Add(-settle), looked: now}}, false},
		{"UDP idle", frontend.UDP, "rr", leaves, departures{addr: {since: now, busy: now.Add(-settle), looked: now}}, false},
		{"not ready any more", frontend.TCP, "rr", leaves + " dead", long, true},
		{"not ready for as long as the timeout", frontend.TCP, "rr", leaves + " dead", dead, false},
		{"ready again", frontend.TCP, "rr", leaves, dead, true},
		{"UDP not ready any more", frontend.UDP, "rr", leaves + " dead", nil, false},
		{"under dh its clients would be refused", frontend.TCP, "dh", leaves, nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			port := web(stays+" local", c.endpoint).Ports[0]
			port.Policy, port.Protocol = Local, c.protocol
			key := frontend.NewKey(netip.MustParseAddr("10.1.0.10"), c.protocol, 30080)
			want := desired(Service{}, port, key, c.scheduler, filter.MasqueradeAll)
			have := ipvs.Entry{Reals: map[netip.AddrPort]ipvs.RealServer{addr: {Weight: 1}}}
			got, _ := drain(now, timeout, key, have, &want, c.known)
			real, is := got.Reals[addr]
			if is != c.stays || real.Weight != 0 {
				t.Errorf("still there: %v with weight %d, want %v with weight 0", is, real.Weight, c.stays)
			}
		})
	}
}

// A connection in TIME_WAIT counts as inactive for two minutes, and so does one whose client has ended its side and still reads: of a
// server that lives all are waited for, of one that is dead those that are active.
func TestOfADeadServerOnlyActiveConnectionsKeepIt(t *testing.T) {
	addr, idle := netip.MustParseAddrPort(leaves), netip.MustParseAddrPort(stays)
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	now := start.Add(time.Minute)
	before := departures{addr: {since: start, dead: start, busy: start}, idle: {since: start, dead: start, busy: start}}
	connections := map[netip.AddrPort]ipvs.Connections{addr: {Active: 1}, idle: {Inactive: 9}}
	if got := before.seen(now, frontend.UDP, nil, connections); got[idle].busy != now {
		t.Error("the flows of UDP, which are all inactive, count for nothing")
	}
	got := before.seen(now, frontend.TCP, nil, connections)
	if got[addr] != (departure{since: start, dead: start, busy: now, looked: now}) || got[idle] != (departure{since: start, dead: start, busy: start, looked: now}) {
		t.Errorf("have %v", got)
	}
	alive := departures{idle: {since: start, busy: start}}.seen(now, frontend.TCP, nil, connections)
	if alive[idle] != (departure{since: start, busy: now, looked: now}) {
		t.Errorf("of one that lives: %v", alive)
	}
	if before[addr].busy != start {
		t.Error("seen changed what it was called on")
	}
}
