package ipvstest

import (
	"net/netip"

	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

func realServers() []promise {
	return []promise{
		{"weights read back whole, also those of more than 16 bits", weights},
		{"SetReal changes the whole configuration", func(s subject) {
			all := ipvs.RealServer{Forwarding: ipvs.Route, Weight: 7, UpperThreshold: 20, LowerThreshold: 10}
			real := netip.AddrPortFrom(real4(1).Addr(), key4().Port)
			s.must(addVirtual(key4(), rr()), addReal(key4(), real, weight(1)))
			for _, r := range []ipvs.RealServer{all, weight(2), all, {Forwarding: ipvs.Tunnel}} {
				s.must(setReal(key4(), real, r))
				s.has(ipvs.Table{key4(): entry(rr(), map[netip.AddrPort]ipvs.RealServer{real: r})})
			}
		}},
		{"each forwarding method reads back as written", forwarding},
		{"real servers are the same only if none is missing, none too many and none configured otherwise", sameReals},
		{"the connections of all that is there are told once each, be it as expected or not", tellsConnections},
		{"thresholds read back as written, and again after they were taken away", thresholds},
		{"a real server may be added again at once after it was deleted, with another configuration", func(s subject) {
			s.must(addVirtual(key4(), rr()), addReal(key4(), real4(1), ipvs.RealServer{Weight: 3, UpperThreshold: 9}))
			s.must(delReal(key4(), real4(1)))
			s.has(ipvs.Table{key4(): entry(rr(), nil)})
			s.must(addReal(key4(), real4(1), weight(5)))
			s.has(ipvs.Table{key4(): entry(rr(), map[netip.AddrPort]ipvs.RealServer{real4(1): weight(5)})})
		}},
		{"one real server serves many virtual servers, each with a weight of its own", func(s subject) {
			want := ipvs.Table{}
			for port := range uint16(5) {
				k := frontend.NewKey(key4().Addr, frontend.TCP, 30000+port)
				s.must(addVirtual(k, rr()), addReal(k, real4(1), weight(uint32(port))))
				want[k] = entry(rr(), map[netip.AddrPort]ipvs.RealServer{real4(1): weight(uint32(port))})
			}
			s.has(want)
		}},
		{"a real server without traffic has no connections", func(s subject) {
			s.must(addVirtual(key4(), rr()), addReal(key4(), real4(1), weight(1)))
			_, conns, err := s.Get(s.Context(), key4())
			if err != nil {
				s.Fatal(err)
			}
			if c, counted := conns[real4(1)]; len(conns) != 1 || !counted || c != (ipvs.Connections{}) {
				s.Errorf("connections %v, want none of %s", conns, real4(1))
			}
		}},
		{"a virtual server with more real servers than one answer holds is read whole", func(s subject) {
			ops := []ipvs.Op{addVirtual(key4(), rr()), addVirtual(key6(), rr())}
			four, six := map[netip.AddrPort]ipvs.RealServer{}, map[netip.AddrPort]ipvs.RealServer{}
			for n := range 1500 {
				r := weight(uint32(n + 1))
				four[real4(n+1)], six[real6(n+1)] = r, r
				ops = append(ops, addReal(key4(), real4(n+1), r), addReal(key6(), real6(n+1), r))
			}
			s.must(ops...)
			s.has(ipvs.Table{key4(): entry(rr(), four), key6(): entry(rr(), six)})
		}},
	}
}

func weights(s subject) {
	s.must(addVirtual(key4(), rr()), addVirtual(key6(), rr()))
	four, six := map[netip.AddrPort]ipvs.RealServer{}, map[netip.AddrPort]ipvs.RealServer{}
	for i, w := range []uint32{0, 1, 255, 256, 65535, 65536, 70000, 1<<31 - 1} {
		four[real4(i+1)], six[real6(i+1)] = weight(w), weight(w)
		s.must(addReal(key4(), real4(i+1), weight(1)), setReal(key4(), real4(i+1), weight(w)), addReal(key6(), real6(i+1), weight(w)))
	}
	want := ipvs.Table{key4(): entry(rr(), four), key6(): entry(rr(), six)}
	s.has(want)
}

func forwarding(s subject) {
	methods := []ipvs.Forwarding{ipvs.Masquerade, ipvs.Local, ipvs.Tunnel, ipvs.Route}
	want := ipvs.Table{}
	for _, k := range []frontend.Key{key4(), key6()} {
		s.must(addVirtual(k, rr()))
		reals := map[netip.AddrPort]ipvs.RealServer{}
		for i, f := range methods {
			addr := real4(i + 1).Addr()
			if k.Addr.Is6() {
				addr = real6(i + 1).Addr()
			}
			real := netip.AddrPortFrom(addr, k.Port)
			reals[real] = ipvs.RealServer{Forwarding: f, Weight: 1}
			s.must(addReal(k, real, reals[real]))
		}
		want[k] = entry(rr(), reals)
	}
	// A tunnel may end in the other family, and is the only one that may.
	mixed := netip.AddrPortFrom(real6(9).Addr(), key4().Port)
	want[key4()].Reals[mixed] = ipvs.RealServer{Forwarding: ipvs.Tunnel, Weight: 2}
	s.must(addReal(key4(), mixed, ipvs.RealServer{Forwarding: ipvs.Tunnel, Weight: 1}))
	s.must(setReal(key4(), mixed, want[key4()].Reals[mixed]))
	s.has(want)
	s.must(delReal(key4(), mixed))
	delete(want[key4()].Reals, mixed)
	s.has(want)
}

func thresholds(s subject) {
	limited := ipvs.RealServer{Weight: 1, UpperThreshold: 2000, LowerThreshold: 1000}
	s.must(addVirtual(key4(), rr()), addVirtual(key6(), rr()), addReal(key6(), real6(1), weight(1)))
	want := func(r ipvs.RealServer) ipvs.Table {
		return ipvs.Table{
			key4(): entry(rr(), map[netip.AddrPort]ipvs.RealServer{real4(1): r}),
			key6(): entry(rr(), map[netip.AddrPort]ipvs.RealServer{real6(1): weight(1)}),
		}
	}
	s.must(addReal(key4(), real4(1), limited))
	s.same(s.list(), want(limited))
	s.must(setReal(key4(), real4(1), weight(1)))
	s.same(s.list(), want(weight(1)))
	s.must(setReal(key4(), real4(1), limited))
	s.has(want(limited))
}

func sameReals(s subject) {
	type reals = map[netip.AddrPort]ipvs.RealServer
	all := reals{real4(1): weight(1), real4(2): {Weight: 2, UpperThreshold: 20, LowerThreshold: 10}}
	s.hasReals(key4(), all, false) // there is no such virtual server
	s.hasReals(key4(), nil, true)
	s.must(addVirtual(key4(), rr()), addVirtual(key6(), rr()), addReal(key6(), real6(1), weight(1)))
	s.hasReals(key4(), nil, true)
	s.must(addReal(key4(), real4(1), all[real4(1)]), addReal(key4(), real4(2), all[real4(2)]))
	s.hasReals(key4(), all, true)
	for name, other := range map[string]reals{
		"one less":    {real4(1): weight(1)},
		"none":        nil,
		"one more":    {real4(1): all[real4(1)], real4(2): all[real4(2)], real4(3): weight(1)},
		"another":     {real4(1): all[real4(1)], real4(3): all[real4(2)]},
		"a weight":    {real4(1): weight(2), real4(2): all[real4(2)]},
		"a threshold": {real4(1): all[real4(1)], real4(2): weight(2)},
	} {
		if same, err := s.SameReals(s.Context(), key4(), other, nil); same || err != nil {
			s.Errorf("%s: %t, %v, want false", name, same, err)
		}
	}
}

func tellsConnections(s subject) {
	type reals = map[netip.AddrPort]ipvs.RealServer
	four, six := reals{real4(1): weight(1), real4(2): weight(0)}, reals{real6(1): weight(1)}
	s.must(addVirtual(key4(), rr()), addReal(key4(), real4(1), weight(1)), addReal(key4(), real4(2), weight(0)))
	s.must(addVirtual(key6(), rr()), addReal(key6(), real6(1), weight(1)))
	tells := func(key frontend.Key, expected, there reals) {
		s.Helper()
		told := map[netip.AddrPort]int{}
		_, err := s.SameReals(s.Context(), key, expected, func(addr netip.AddrPort, c ipvs.Connections) {
			told[addr]++
			if c != (ipvs.Connections{}) {
				s.Errorf("%s of %s has %v without traffic", addr, key, c)
			}
		})
		if err != nil || len(told) != len(there) {
			s.Errorf("%s: told of %v, %v, want each of %v", key, told, err, there)
		}
		for addr := range there {
			if told[addr] != 1 {
				s.Errorf("%s of %s was told %d times", addr, key, told[addr])
			}
		}
	}
	tells(key4(), four, four)
	tells(key4(), reals{real4(2): weight(7), real4(3): weight(1)}, four)
	tells(key6(), six, six)
	s.must(delVirtual(key4()))
	tells(key4(), four, nil)
}
