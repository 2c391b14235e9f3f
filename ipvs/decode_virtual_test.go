package ipvs

import (
	"errors"
	"net/netip"
	"slices"
	"syscall"
	"testing"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// virtual is a virtual server of one address family with persistence, and the kernel's own flag.
func virtual(key frontend.Key, flags, timeout uint32, netmask []byte) [][]byte {
	attrs := virtualAttrs(key, Counters{})
	attrs[4] = wire(u16s(8, svcAttrScheduler), []byte("wlc\x00"))
	attrs[5] = wire(u16s(12, svcAttrFlags), flags|2, ^uint32(0))
	attrs[6] = attr32(svcAttrTimeout, timeout)
	attrs[7] = wire(u16s(8, svcAttrNetmask), netmask)
	return attrs
}

func TestAVirtualServerIsReadWhole(t *testing.T) {
	names := schedulerNames{}
	for _, c := range []struct {
		key            string
		flags, timeout uint32
		netmask        []byte
		want           VirtualServer
	}{
		{"tcp://10.1.0.10:30080", 0, 0, []byte{255, 255, 255, 255}, VirtualServer{Scheduler: "wlc"}},
		{"tcp://10.1.0.10:30080", 0, 360, []byte{255, 255, 255, 0}, VirtualServer{Scheduler: "wlc"}}, // not persistent
		{"udp://10.1.0.10:53", 0x0d, 300, []byte{255, 255, 255, 0}, VirtualServer{Scheduler: "wlc", Flags: Persistent | OnePacket | Sched1, PersistenceTimeout: 300, PersistencePrefix: 24}},
		{"sctp://[fd01::10]:1", 1, 60, wire(uint32(64)), VirtualServer{Scheduler: "wlc", Flags: Persistent, PersistenceTimeout: 60, PersistencePrefix: 64}},
		{"sctp://[fd01::10]:1", 1, 60, wire(uint32(128)), VirtualServer{Scheduler: "wlc", Flags: Persistent, PersistenceTimeout: 60}},
	} {
		key := mustKey(c.key)
		got, v, ok, err := decodeVirtual(virtualMessage(virtual(key, c.flags, c.timeout, c.netmask)...), names)
		if got != key || v != c.want || !ok || err != nil {
			t.Errorf("%s is %s %+v, %v, %v, want %+v", key, got, v, ok, err, c.want)
		}
	}
	if len(names) != 1 {
		t.Errorf("%d names of one scheduler", len(names))
	}
}

func TestAPartOfAVirtualServerIsAnErrorAndNotZero(t *testing.T) {
	all := virtualAttrs(mustKey("tcp://10.1.0.10:30080"), Counters{})
	for missing := range all[:8] {
		m := virtualMessage(slices.Delete(slices.Clone(all), missing, missing+1)...)
		if _, got, ok, err := decodeVirtual(m, schedulerNames{}); !errors.Is(err, errMalformed) || ok {
			t.Errorf("without attribute %d: %v, %v, %v", missing, got, ok, err)
		}
	}
	marked := virtualMessage(append([][]byte{all[0], attr32(svcAttrMark, 7)}, all[4:]...)...)
	if _, _, ok, err := decodeVirtual(marked, schedulerNames{}); ok || err != nil {
		t.Errorf("one with a firewall mark: %v, %v", ok, err)
	}
}

func TestAVirtualServerAndItsRealServersAreAskedForTogether(t *testing.T) {
	key := mustKey("tcp://10.1.0.10:30080")
	real := func(seq uint32) []byte { return answer(0x21, seq, destMessage(destAttrs()...).payload) }
	self := answer(0x21, 6, virtualMessage(virtualAttrs(key, Counters{})...).payload)
	failed := func(seq uint32, errno syscall.Errno) []byte {
		return answer(msgError, seq, wire(^uint32(errno)+1))
	}
	brokenOff := answer(msgDone, 5, wire(^uint32(syscall.EINTR)+1))
	for name, c := range map[string]struct {
		answers [][]byte
		reals   int
		want    error
	}{
		"the end of the dump comes last":    {[][]byte{real(5), self, done(5)}, 1, nil},
		"the virtual server comes last":     {[][]byte{real(5), done(5), self}, 1, nil},
		"left-overs come first":             {[][]byte{real(4), done(4), slices.Concat(real(5), done(5)), self}, 1, nil},
		"it has no real servers":            {[][]byte{done(5), self}, 0, nil},
		"it does not exist":                 {[][]byte{failed(6, syscall.ESRCH), done(5)}, 0, syscall.ESRCH},
		"it is deleted meanwhile":           {[][]byte{real(5), failed(6, syscall.ESRCH), done(5)}, 1, syscall.ESRCH},
		"the dump is refused":               {[][]byte{failed(5, syscall.EPERM), failed(6, syscall.EPERM)}, 0, syscall.EPERM},
		"the dump alone is refused":         {[][]byte{failed(5, syscall.EPERM), self}, 0, syscall.EPERM},
		"the dump is broken off, first":     {[][]byte{real(5), brokenOff, self}, 1, syscall.EINTR},
		"the dump is broken off, last":      {[][]byte{real(5), self, brokenOff}, 1, syscall.EINTR},
		"the end of the dump does not come": {[][]byte{real(5), self}, 1, ErrSilent},
		"the virtual server does not come":  {[][]byte{real(5), done(5)}, 1, ErrSilent},
	} {
		reals := map[netip.AddrPort]RealServer{}
		v, err := (&recorded{answers: c.answers}).writer().get(t.Context(), key, func(d dest) { reals[d.key] = d.real })
		if !errors.Is(err, c.want) || len(reals) != c.reals || err == nil && v.Scheduler != "rr" {
			t.Errorf("%s: %v, %d real servers, %v, want %v", name, v, len(reals), err, c.want)
		}
	}
}

func TestRealServersAreComparedWithoutGarbage(t *testing.T) {
	key := mustKey("tcp://10.1.0.10:30080")
	reals := map[netip.AddrPort]RealServer{
		netip.MustParseAddrPort("10.244.1.2:8080"): {Forwarding: Route, Weight: 70000, UpperThreshold: 20, LowerThreshold: 10},
	}
	real := answer(0x21, 5, destMessage(destAttrs()...).payload)
	r := &recorded{answers: [][]byte{real, done(5)}}
	w := r.writer()
	told := 0
	tell := func(addr netip.AddrPort, c Connections) {
		if _, known := reals[addr]; known && c == (Connections{Active: 3, Inactive: 4}) {
			told++
		}
	}
	compare := func() {
		w.seq = 5
		if same, err := w.sameReals(t.Context(), key, reals, tell); !same || err != nil {
			t.Fatal(same, err)
		}
	}
	few := testing.AllocsPerRun(10, compare)
	r.answers = slices.Concat(slices.Repeat([][]byte{real}, 100), [][]byte{done(5)})
	many := testing.AllocsPerRun(10, func() {
		w.seq = 5
		if same, err := w.sameReals(t.Context(), key, reals, tell); same || err != nil {
			t.Fatal("one that comes a hundred times is the same", err)
		}
	})
	if many > few {
		t.Errorf("%v allocations for a real server, %v for a hundred", few, many)
	}
	if told != 11+11*100 { // AllocsPerRun runs once more
		t.Errorf("%d were told", told)
	}
}

func TestRealServersAreTheSameOnlyIfNothingOfThemDiffers(t *testing.T) {
	one, other := netip.MustParseAddrPort("10.244.1.2:8080"), netip.MustParseAddrPort("10.244.1.3:8080")
	real := RealServer{Forwarding: Route, Weight: 70000, UpperThreshold: 20, LowerThreshold: 10}
	message := func(overrides ...[]byte) []byte {
		return answer(0x21, 5, destMessage(destAttrs(overrides...)...).payload)
	}
	at := wire(u16s(20, destAttrAddr), "0af40103"+"000000000000000000000000")
	empty := [][]byte{at, attr32(destAttrForwarding, 0), attr32(destAttrWeight, 0), attr32(destAttrUpper, 0), attr32(destAttrLower, 0)}
	just, both := map[netip.AddrPort]RealServer{one: real}, map[netip.AddrPort]RealServer{one: real, other: real}
	for name, c := range map[string]struct {
		dump  [][]byte
		known map[netip.AddrPort]RealServer
		want  bool
	}{
		"nothing differs":                   {[][]byte{message()}, just, true},
		"none, and none known":              {nil, nil, true},
		"in another order than the memory":  {[][]byte{message(at), message()}, both, true},
		"the weight":                        {[][]byte{message(attr32(destAttrWeight, 70001))}, just, false},
		"the upper threshold":               {[][]byte{message(attr32(destAttrUpper, 21))}, just, false},
		"the lower threshold":               {[][]byte{message(attr32(destAttrLower, 11))}, just, false},
		"the forwarding":                    {[][]byte{message(attr32(destAttrForwarding, 0x102))}, just, false},
		"the port":                          {[][]byte{message(wire(u16s(6, destAttrPort), "1f910000"))}, just, false},
		"the first of two":                  {[][]byte{message(attr32(destAttrWeight, 1)), message(at)}, both, false},
		"an address more":                   {[][]byte{message(), message(at)}, just, false},
		"an address more, with nothing":     {[][]byte{message(), message(empty...)}, just, false},
		"one fewer":                         {[][]byte{message()}, both, false},
		"none left":                         {nil, just, false},
		"another in its place":              {[][]byte{message(at)}, just, false},
		"another in its place with nothing": {[][]byte{message(empty...)}, just, false},
	} {
		r := &recorded{answers: slices.Concat(c.dump, [][]byte{done(5)})}
		if same, err := r.writer().sameReals(t.Context(), mustKey("tcp://10.1.0.10:30080"), c.known, nil); same != c.want || err != nil {
			t.Errorf("%s: the same: %v, %v", name, same, err)
		}
	}
}
