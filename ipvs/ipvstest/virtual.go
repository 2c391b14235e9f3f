package ipvstest

import (
	"errors"
	"net/netip"
	"syscall"

	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

func virtualServers() []promise {
	return []promise{
		{"an empty table is listed without error", func(s subject) { s.has(ipvs.Table{}) }},
		{"Get of a missing virtual server is ESRCH", func(s subject) {
			_, _, err := s.Get(s.Context(), key4())
			if !errors.Is(err, syscall.ESRCH) || !ipvs.IsGone(err) {
				s.Errorf("%v, want ESRCH", err)
			}
		}},
		{"both families and all protocols stand side by side on one port", eachProtocol},
		{"addresses and ports at the edges read back as written", edges},
		{"persistence, its timeout and its prefix read back as written", persistence},
		{"what means nothing is read as zero: a whole address as prefix, a timeout without persistence", func(s subject) {
			lasting := ipvs.VirtualServer{Scheduler: "rr", Flags: ipvs.Persistent, PersistenceTimeout: 300}
			written := lasting
			written.PersistencePrefix = 32
			s.must(addVirtual(key4(), written))
			written.PersistencePrefix = 128
			s.must(addVirtual(key6(), written))
			brief := key("udp://10.1.0.10:30080")
			s.must(addVirtual(brief, ipvs.VirtualServer{Scheduler: "rr", PersistenceTimeout: 300, PersistencePrefix: 24}))
			s.has(ipvs.Table{key4(): entry(lasting, nil), key6(): entry(lasting, nil), brief: entry(rr(), nil)})
		}},
		{"persistence ends when it is set without", persistenceEnds},
		{"scheduler flags read back as written and the kernel's own flag never shows", flags},
		{"SetVirtual changes the scheduler and keeps the real servers", func(s subject) {
			s.must(addVirtual(key4(), rr()), addReal(key4(), real4(1), weight(3)), addReal(key4(), real4(2), weight(0)))
			s.must(setVirtual(key4(), ipvs.VirtualServer{Scheduler: "wrr"}))
			s.has(ipvs.Table{key4(): entry(ipvs.VirtualServer{Scheduler: "wrr"}, map[netip.AddrPort]ipvs.RealServer{
				real4(1): weight(3), real4(2): weight(0),
			})})
		}},
		{"DelVirtual drops the real servers too, and one made again is empty", func(s subject) {
			s.must(addVirtual(key4(), rr()), addReal(key4(), real4(1), weight(3)), delVirtual(key4()))
			s.has(ipvs.Table{})
			s.must(addVirtual(key4(), rr()))
			s.has(ipvs.Table{key4(): entry(rr(), nil)})
		}},
		{"one operation leaves the other virtual servers alone", func(s subject) {
			other := key("udp://10.1.0.10:30080")
			s.must(addVirtual(key4(), rr()), addReal(key4(), real4(1), weight(1)),
				addVirtual(other, rr()), addReal(other, real4(1), weight(1)))
			s.must(setReal(other, real4(1), weight(9)), delVirtual(key4()))
			s.has(ipvs.Table{other: entry(rr(), map[netip.AddrPort]ipvs.RealServer{real4(1): weight(9)})})
		}},
	}
}

func eachProtocol(s subject) {
	want := ipvs.Table{}
	for _, addr := range []string{"10.1.0.10", "10.2.0.10", "fd01::10", "fd02::10"} {
		for _, p := range frontend.Protocols() {
			k := frontend.NewKey(netip.MustParseAddr(addr), p, 30080)
			real := real4(1)
			if k.Addr.Is6() {
				real = real6(1)
			}
			s.must(addVirtual(k, rr()), addReal(k, real, weight(1)))
			want[k] = entry(rr(), map[netip.AddrPort]ipvs.RealServer{real: weight(1)})
		}
	}
	s.has(want)
}

func edges(s subject) {
	want := ipvs.Table{}
	for k, real := range map[string]string{
		"tcp://0.0.0.1:1":           "1.2.3.4:1",
		"tcp://255.255.255.254:256": "1.2.3.4:65535",
		"udp://127.0.0.1:65535":     "10.0.0.0:256",
		"sctp://[2001:db8::]:1":     "[2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
		"tcp://[::1]:65535":         "[2001:db8::1]:1",
	} {
		real := netip.MustParseAddrPort(real)
		s.must(addVirtual(key(k), rr()), addReal(key(k), real, weight(1)))
		want[key(k)] = entry(rr(), map[netip.AddrPort]ipvs.RealServer{real: weight(1)})
	}
	s.has(want)
}

func persistence(s subject) {
	want := ipvs.Table{}
	for k, v := range map[string]ipvs.VirtualServer{
		"tcp://10.1.0.10:1":  {PersistenceTimeout: 10800},
		"tcp://10.1.0.10:2":  {PersistenceTimeout: 300, PersistencePrefix: 24},
		"tcp://10.1.0.10:3":  {PersistenceTimeout: 1, PersistencePrefix: 1},
		"udp://10.1.0.10:4":  {PersistenceTimeout: 86400, PersistencePrefix: 31},
		"tcp://[fd01::10]:1": {PersistenceTimeout: 10800},
		"tcp://[fd01::10]:2": {PersistenceTimeout: 300, PersistencePrefix: 64},
		"tcp://[fd01::10]:3": {PersistenceTimeout: 1, PersistencePrefix: 1},
		"udp://[fd01::10]:4": {PersistenceTimeout: 86400, PersistencePrefix: 127},
	} {
		v.Scheduler, v.Flags = "rr", ipvs.Persistent
		s.must(addVirtual(key(k), v))
		want[key(k)] = entry(v, nil)
	}
	s.has(want)
}

func persistenceEnds(s subject) {
	want := ipvs.Table{}
	for _, k := range []frontend.Key{key4(), key6()} {
		v := ipvs.VirtualServer{Scheduler: "rr", Flags: ipvs.Persistent, PersistenceTimeout: 300, PersistencePrefix: 16}
		s.must(addVirtual(k, v), setVirtual(k, rr()))
		want[k] = entry(rr(), nil)
	}
	s.has(want)
}

func flags(s subject) {
	want := ipvs.Table{}
	for k, v := range map[string]ipvs.VirtualServer{
		"tcp://10.1.0.10:1":  {Scheduler: "sh", Flags: ipvs.Sched1},
		"tcp://10.1.0.10:2":  {Scheduler: "sh", Flags: ipvs.Sched1 | ipvs.Sched2},
		"tcp://10.1.0.10:3":  {Scheduler: "mh", Flags: ipvs.Sched2},
		"udp://10.1.0.10:4":  {Scheduler: "rr", Flags: ipvs.OnePacket},
		"tcp://10.1.0.10:5":  {Scheduler: "sh", Flags: ipvs.Persistent | ipvs.Sched1, PersistenceTimeout: 60},
		"tcp://[fd01::10]:1": {Scheduler: "sh", Flags: ipvs.Sched1 | ipvs.Sched2 | ipvs.Sched3},
		"udp://[fd01::10]:2": {Scheduler: "mh", Flags: ipvs.OnePacket | ipvs.Sched1},
	} {
		s.must(addVirtual(key(k), v))
		want[key(k)] = entry(v, nil)
	}
	s.has(want)
	for k, e := range want {
		e.Flags = ipvs.Sched3
		e.PersistenceTimeout = 0
		s.must(setVirtual(k, e.VirtualServer))
		want[k] = e
	}
	s.has(want)
}
