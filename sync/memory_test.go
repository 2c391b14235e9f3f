package sync

import (
	"maps"
	"net/netip"
	"testing"

	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

// What is wished and what is remembered may be one set, and a kernel that does something else must not change what is wished.
func TestMemoryWritesToNoSetThatItShares(t *testing.T) {
	key := tcp("10.1.0.10", 30080)
	a, b := netip.MustParseAddrPort("10.244.1.2:8080"), netip.MustParseAddrPort("10.244.1.3:8080")
	wished := map[netip.AddrPort]ipvs.RealServer{a: {Weight: 1}, b: {Weight: 1}}
	untouched := maps.Clone(wished)
	for name, op := range map[string]ipvs.Op{
		"deletes": {Verb: ipvs.DelReal, Key: key, RealKey: a},
		"sets":    {Verb: ipvs.SetReal, Key: key, RealKey: a, Real: ipvs.RealServer{Weight: 7}},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMemory()
			m.put(key, ipvs.Entry{Reals: maps.Clone(wished)})
			m.share(key, wished)
			m.put(key, ipvs.Entry{Reals: maps.Clone(wished)}) // as an audit does
			m.commit(op)
			if !maps.Equal(wished, untouched) {
				t.Errorf("what is wished is %v", wished)
			}
			if maps.Equal(m.table[key].Reals, untouched) {
				t.Error("the operation is not remembered")
			}
			if m.reals != len(m.table[key].Reals) {
				t.Errorf("%d real servers counted of %d", m.reals, len(m.table[key].Reals))
			}
			m.share(key, wished) // it is not the same any more
			if maps.Equal(m.table[key].Reals, wished) {
				t.Error("the kernel's state is taken for what is wished")
			}
		})
	}
}

func TestMemoryCountsTheRealServersOfWhatIsMadeAnew(t *testing.T) {
	key, addr := tcp("10.1.0.10", 30080), netip.MustParseAddrPort("10.244.1.2:8080")
	wished := map[netip.AddrPort]ipvs.RealServer{addr: {Weight: 1}}
	m := newMemory()
	m.put(key, ipvs.Entry{Reals: maps.Clone(wished)})
	for range 2 {
		if !m.share(key, wished) {
			t.Error("it is not as wished")
		}
	}
	m.create(ipvs.Op{Verb: ipvs.AddVirtual, Key: key}, 1) // somebody had deleted it
	if m.reals != 0 || m.share(key, wished) {
		t.Errorf("%d real servers are remembered of none", m.reals)
	}
	m.commit(ipvs.Op{Verb: ipvs.AddReal, Key: key, RealKey: addr, Real: wished[addr]})
	if m.reals != 1 || !m.share(key, wished) {
		t.Errorf("%d real servers are remembered of one", m.reals)
	}
}

func TestMemoryCountsTheRealServersOfWhatWasReadOtherwise(t *testing.T) {
	key, m := tcp("10.1.0.10", 30080), newMemory()
	m.put(tcp("10.1.0.10", 30081), weighted("1*1"))
	for _, reals := range []string{"1*1 2*1 3*1", "1*1", "1*7", "", "1*1 2*1"} {
		e := weighted(reals)
		m.put(key, e)
		if want := 1 + len(e.Reals); m.reals != want {
			t.Errorf("after %q: %d real servers are counted of %d", reals, m.reals, want)
		}
	}
	m.drop(key)
	if m.reals != 1 {
		t.Errorf("%d real servers are counted of one", m.reals)
	}
}
