package traffic

import (
	"net/netip"

	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/sync"
)

// formers are what was counted under the names of Service ports on node ports that they have no more, and for endpoints behind
// such ones. A name stands for all its node ports, and what was counted under it must not fall when it loses one. The
// values are not written to.
type formers map[portName]Port

// add adds what a node port, or some of its endpoints, leave behind.
func (f formers) add(name portName, p Port) { f[name] = join(f[name], p) }

// keep keeps what names, and endpoints of theirs, go on from: those that another node port has.
func (f formers) keep(ports map[sync.PortRef]Port) {
	if len(f) == 0 {
		return
	}
	live := map[portName]map[netip.AddrPort]struct{}{}
	for ref, p := range ports {
		name := nameOf(ref)
		if _, has := f[name]; !has {
			continue
		}
		if live[name] == nil {
			live[name] = map[netip.AddrPort]struct{}{}
		}
		for addr := range p.Endpoints {
			live[name][addr] = struct{}{}
		}
	}
	for name, p := range f {
		endpoints, lives := live[name]
		kept := Port{Counters: p.Counters, Endpoints: map[netip.AddrPort]Endpoint{}}
		for addr, e := range p.Endpoints {
			if _, has := endpoints[addr]; has {
				kept.Endpoints[addr] = e
			}
		}
		if !lives || len(kept.Endpoints) == 0 && kept.Counters == (ipvs.Counters{}) {
			delete(f, name)
			continue
		}
		f[name] = kept
	}
}
