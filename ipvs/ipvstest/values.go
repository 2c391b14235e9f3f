package ipvstest

import (
	"net/netip"

	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

// The virtual servers that most cases are about.
func key4() frontend.Key { return key("tcp://10.1.0.10:30080") }
func key6() frontend.Key { return key("tcp://[fd01::10]:30080") }

// real4 and real6 are the n-th real servers of each family.
func real4(n int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 244, byte(n >> 8), byte(n)}), 8080)
}

func real6(n int) netip.AddrPort {
	a := netip.MustParseAddr("fd02::").As16()
	a[14], a[15] = byte(n>>8), byte(n)
	return netip.AddrPortFrom(netip.AddrFrom16(a), 8080)
}

func key(s string) frontend.Key {
	k, err := frontend.ParseKey(s)
	if err != nil {
		panic("ipvstest: " + err.Error()) // a constant of this package
	}
	return k
}

func rr() ipvs.VirtualServer { return ipvs.VirtualServer{Scheduler: "rr"} }

func weight(w uint32) ipvs.RealServer { return ipvs.RealServer{Weight: w} }

func addVirtual(k frontend.Key, v ipvs.VirtualServer) ipvs.Op {
	return ipvs.Op{Verb: ipvs.AddVirtual, Key: k, Virtual: v}
}

func setVirtual(k frontend.Key, v ipvs.VirtualServer) ipvs.Op {
	return ipvs.Op{Verb: ipvs.SetVirtual, Key: k, Virtual: v}
}

func delVirtual(k frontend.Key) ipvs.Op { return ipvs.Op{Verb: ipvs.DelVirtual, Key: k} }

func addReal(k frontend.Key, a netip.AddrPort, r ipvs.RealServer) ipvs.Op {
	return ipvs.Op{Verb: ipvs.AddReal, Key: k, RealKey: a, Real: r}
}

func setReal(k frontend.Key, a netip.AddrPort, r ipvs.RealServer) ipvs.Op {
	return ipvs.Op{Verb: ipvs.SetReal, Key: k, RealKey: a, Real: r}
}

func delReal(k frontend.Key, a netip.AddrPort) ipvs.Op {
	return ipvs.Op{Verb: ipvs.DelReal, Key: k, RealKey: a}
}

func entry(v ipvs.VirtualServer, reals map[netip.AddrPort]ipvs.RealServer) ipvs.Entry {
	return ipvs.Entry{VirtualServer: v, Reals: reals}
}
