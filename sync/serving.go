package sync

import (
	"maps"
	"net/netip"
	stdsync "sync"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// PortRef names one port of a Service: what people and metrics call it.
type PortRef struct {
	Service ServiceID
	// Name is the port's name in the Service, "" for the only one.
	Name string
	// Port is the port inside the cluster, NodePort the one on nodes.
	Port, NodePort uint16
	Protocol       frontend.Protocol
}

// ref names the port of a Service.
func (p ServicePort) ref(id ServiceID) PortRef {
	return PortRef{Service: id, Name: p.Name, Port: p.Port, NodePort: p.NodePort, Protocol: p.Protocol}
}

// Served is a frontend that is in the kernel by our doing.
type Served struct {
	PortRef
	// Draining are its real servers that leave. The set is not written to any more.
	Draining map[netip.AddrPort]struct{}
}

// servingIndex says which frontends are served for whom. It is written by passes, a frontend at a time, and read by whoever
// counts traffic, who never waits for a pass.
type servingIndex struct {
	mu      stdsync.Mutex
	entries map[frontend.Key]Served
}

// Serving is what is served at the moment. The map is the caller's own.
func (r *Reconciler) Serving() map[frontend.Key]Served {
	r.serving.mu.Lock()
	defer r.serving.mu.Unlock()
	return maps.Clone(r.serving.entries)
}

// publish brings the index up to date for the frontends that a pass has looked at.
func (r *Reconciler) publish(keys []frontend.Key) {
	if len(keys) == 0 {
		return
	}
	r.serving.mu.Lock()
	defer r.serving.mu.Unlock()
	if r.serving.entries == nil {
		r.serving.entries = map[frontend.Key]Served{}
	}
	for _, key := range keys {
		_, exists := r.have.table[key]
		if !exists {
			delete(r.serving.entries, key)
			continue
		}
		s := Served{PortRef: r.serving.entries[key].PortRef}
		if f, wanted := r.state.Want(key); wanted {
			s.PortRef = f.Port
			r.have.share(key, f.Entry.Reals)
		}
		if leaving := r.leaving[key]; len(leaving) > 0 {
			s.Draining = make(map[netip.AddrPort]struct{}, len(leaving))
			for addr := range leaving {
				s.Draining[addr] = struct{}{}
			}
		}
		r.serving.entries[key] = s
	}
}
