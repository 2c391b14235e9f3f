package sync

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/kube-ipvs/kube-ipvs/allocator"
	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/host"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/nodeaddr"
)

// PortConflict says what becomes of a node port on which a program of the node listens.
type PortConflict uint8

// PortConflictWarn serves it, as Kubernetes does: the program hears nothing from outside any more. PortConflictSkip leaves
// it to the program until that ends.
const (
	PortConflictWarn PortConflict = iota
	PortConflictSkip
)

// Listener is a program that listens on a port of this node.
type Listener struct {
	host.Listener
	// Process says which one, "nginx (process 123)"; "" if nobody knows.
	Process string
}

// socket is what programs listen on: every address, or one.
type socket struct {
	protocol frontend.Protocol
	port     uint16
}

// obstacles are what others than Services have on ports of this node.
type obstacles struct {
	listeners map[socket][]Listener
	// unlisted: the programs that listen now cannot be listed.
	unlisted bool
	// foreign are virtual servers that are not ours, as far as an extra port is asked for there.
	foreign map[frontend.Key]struct{}
	// kept are frontends that an agent before this one served: nobody takes them away by listening.
	kept map[frontend.Key]struct{}
}

// SetListeners says which programs listen on ports of this node. It concerns the Services that claim such a port.
func (s *State) SetListeners(listeners []Listener) {
	now := map[socket][]Listener{}
	for _, l := range listeners {
		at := socket{l.Protocol, l.Port}
		now[at] = append(now[at], l)
	}
	before := s.obstacles.listeners
	s.obstacles.listeners = now
	for _, all := range []map[socket][]Listener{before, now} {
		for at := range all {
			if !slices.Equal(before[at], now[at]) {
				s.concernClaimants(at)
			}
		}
	}
}

// SetUnlisted says whether the programs that listen cannot be listed. What was known of them stays; an extra port, of which
// nobody else says that it is ours, is not opened on nothing but that.
func (s *State) SetUnlisted(unlisted bool) {
	if s.obstacles.unlisted == unlisted {
		return
	}
	s.obstacles.unlisted = unlisted
	for id, svc := range s.services {
		if slices.ContainsFunc(svc.Ports, func(p ServicePort) bool { return p.Extra }) {
			s.dirty[id] = struct{}{}
		}
	}
}

func (s *State) concernClaimants(at socket) {
	for _, p := range s.places {
		for _, c := range s.ledger.Claimants(frontend.NewKey(p.Addr, at.protocol, at.port)) {
			s.dirty[c.ID] = struct{}{}
		}
	}
}

// claimsPort reports whether a Service claims a port to be served at some address: health checks find out by listening.
func (s *State) claimsPort(protocol frontend.Protocol, port uint16) bool {
	return slices.ContainsFunc(s.places, func(p nodeaddr.Place) bool {
		return s.ledger.ClaimedBy(frontend.NewKey(p.Addr, protocol, port), func(c allocator.Claimant) bool {
			return c.Kind != allocator.HealthCheck
		})
	})
}

// SetForeign says which virtual servers of the kernel are not ours. It matters where an extra port is asked for: a node port
// is ours by right of the API server, an extra port is not.
func (s *State) SetForeign(keys []frontend.Key) {
	now := map[frontend.Key]struct{}{}
	for _, key := range keys {
		if c := s.ledger.Claimants(key); len(c) > 0 && c[0].Kind == allocator.ExtraPort {
			now[key] = struct{}{}
		}
	}
	before := s.obstacles.foreign
	s.obstacles.foreign = now
	for _, all := range []map[frontend.Key]struct{}{before, now} {
		for key := range all {
			_, was := before[key]
			if _, is := now[key]; was != is {
				s.concernClaimants(socket{key.Protocol, key.Port})
			}
		}
	}
}

// foreignExtra are the virtual servers that are not ours where an extra port is asked for, sorted.
func (s *State) foreignExtra() []frontend.Key {
	return slices.SortedFunc(maps.Keys(s.obstacles.foreign), frontend.Key.Compare)
}

// leadsToClaimant reports whether a virtual server sends clients to an endpoint of the Service that has it as an extra port.
func (s *State) leadsToClaimant(key frontend.Key, reals map[netip.AddrPort]ipvs.RealServer) bool {
	c := s.ledger.Claimants(key)
	if len(c) == 0 || c[0].Kind != allocator.ExtraPort {
		return false
	}
	return slices.ContainsFunc(s.services[c[0].ID].Ports, func(p ServicePort) bool {
		return p.Extra && p.NodePort == key.Port && p.Protocol == key.Protocol && slices.ContainsFunc(p.Endpoints, func(e Endpoint) bool {
			_, there := reals[e.Addr]
			return there
		})
	})
}

// AddForeign says of one more virtual server that it is not ours.
func (s *State) AddForeign(key frontend.Key) {
	s.SetForeign(append(slices.Collect(maps.Keys(s.obstacles.foreign)), key))
}

// SetKept names the frontends that an agent before this one served.
func (s *State) SetKept(keys map[frontend.Key]struct{}) { s.obstacles.kept = maps.Clone(keys) }

// ForgetKept says that frontends are not served any more: from now on a program may have their ports.
func (s *State) ForgetKept(keys []frontend.Key) {
	for _, key := range keys {
		delete(s.obstacles.kept, key)
	}
}

// obstacle is what stands in the way of a frontend.
type obstacle struct {
	// what it is, for people; "" if there is none.
	what string
	// blocks: the frontend is not served because of it.
	blocks bool
}

// obstacleTo is what stands in the way of a port's frontend that its Service holds.
func (s *State) obstacleTo(port ServicePort, key frontend.Key) obstacle {
	if o := &s.obstacles; len(o.listeners) == 0 && len(o.foreign) == 0 && !o.unlisted {
		return obstacle{}
	}
	_, serving := s.want[key]
	if _, kept := s.obstacles.kept[key]; kept {
		serving = true
	}
	if _, foreign := s.obstacles.foreign[key]; foreign && port.Extra {
		return obstacle{"a virtual server that is not ours is there already, which --adopt takes over", true}
	}
	listeners := s.obstacles.listeners[socket{key.Protocol, key.Port}]
	i := slices.IndexFunc(listeners, func(l Listener) bool { return l.Takes(key.Addr) })
	switch {
	case i < 0 && s.obstacles.unlisted && port.Extra && !serving:
		return obstacle{"the programs that listen on this node cannot be listed", true}
	case i < 0:
		return obstacle{}
	}
	return obstacle{listenerText(listeners[i]), !serving && (port.Extra || s.PortConflict == PortConflictSkip)}
}

func listenerText(l Listener) string {
	return cmp.Or(l.Process, "a program") + " listens there"
}

// obstacleProblem is that of a port with programs or others' virtual servers in its way, on the addresses given.
func obstacleProblem(object string, port ServicePort, what string, blocks bool, addrs string) Problem {
	p := Problem{Object: object, Reason: PortInUse, Skipped: blocks}
	switch {
	case blocks && port.Extra:
		p.Message = fmt.Sprintf("extra port %d/%s is not opened on %s: %s; it is once that ends", port.NodePort, port.Protocol, addrs, what)
	case blocks:
		p.Message = fmt.Sprintf("node port %d/%s is not served on %s: %s (--port-conflict=skip); it is once that ends",
			port.NodePort, port.Protocol, addrs, what)
	default:
		p.Message = fmt.Sprintf("%s %d/%s on %s: %s, and gets nothing from outside while the port is served: stop it, or give one of the two another port",
			portWord(port), port.NodePort, port.Protocol, addrs, what)
	}
	return p
}

// portField is where the number of a port is written.
func portField(port ServicePort) string {
	if port.Extra {
		return "extra port"
	}
	return "nodePort"
}

// portWord is what a port of a Service is called on a node.
func portWord(port ServicePort) string {
	if port.Extra {
		return "extra port"
	}
	return "node port"
}

// lookForListeners asks who listens, and tells the state.
func (r *Reconciler) lookForListeners() {
	if r.Listeners == nil {
		return
	}
	listeners, err := r.Listeners(r.state.claimsPort)
	switch {
	case err == nil:
		r.state.SetListeners(listeners)
	case !r.state.obstacles.unlisted:
		r.log.Error(err, "Programs that listen on ports of this node cannot be listed: what was known of them stands, and no extra port is opened")
	}
	r.state.SetUnlisted(err != nil)
}

// resolve brings the state up to date. A port that is claimed anew is looked at first: whether a program listens on it.
func (r *Reconciler) resolve() []frontend.Key {
	if r.state.Claim() {
		r.lookForListeners()
	}
	return r.state.Resolve()
}

// noteForeignExtra looks for virtual servers of others where extra ports are asked for.
func (r *Reconciler) noteForeignExtra(virtuals map[frontend.Key]ipvs.VirtualServer) {
	var foreign []frontend.Key
	for key := range virtuals {
		if !r.rules.Owned.Has(key) {
			foreign = append(foreign, key)
		}
	}
	r.state.SetForeign(foreign)
}

// recognize takes virtual servers on extra ports for ours whose record is lost, since somebody deleted our table while no agent ran:
// those that send clients to an endpoint of the Service that asks for the port. Nobody else says of an extra port whose it is, so
// they would be kept from being followed, masqueraded and restricted for good.
func (r *Reconciler) recognize(ctx context.Context, virtuals map[frontend.Key]ipvs.VirtualServer, p *passReport) {
	if !r.forgotten {
		return
	}
	r.noteForeignExtra(virtuals)
	var ours []frontend.Key
	for _, key := range r.state.foreignExtra() {
		entry, err := r.ask(ctx, key, p)
		switch {
		case ipvs.IsGone(err):
		case err != nil:
			p.fail(fmt.Errorf("find out whether %s is ours: %w", key, err))
			return
		case r.state.leadsToClaimant(key, entry.Reals):
			ours = append(ours, key)
		}
	}
	if err := r.transact(ctx, filter.Change{AddOwned: ours}, p); err != nil {
		p.fail(fmt.Errorf("mark what is ours: %w", err))
		return
	}
	r.forgotten = false
	if len(ours) > 0 {
		r.log.Info("Our nftables table was missing: virtual servers on extra ports are ours by where they lead", "frontends", ours)
	}
}

// unclaimed leaves out the extra ports that are about to be served and on which somebody else's virtual server stands:
// nobody but the Service's author says that they are ours. They are not wanted any more from here on, so that nothing takes
// what stands there for ours.
func (r *Reconciler) unclaimed(ctx context.Context, keys []frontend.Key, p *passReport) []frontend.Key {
	found := false
	ours := slices.DeleteFunc(keys, func(key frontend.Key) bool {
		f, wanted := r.state.Want(key)
		if !wanted || !f.Extra || r.rules.Owned.Has(key) {
			return false
		}
		_, err := r.ask(ctx, key, p)
		switch {
		case ipvs.IsGone(err):
			return false
		case err != nil:
			r.hold([]frontend.Key{key}, fmt.Errorf("look for a virtual server of somebody else on %s: %w", key, err), p)
		default:
			r.state.AddForeign(key)
			found = true
		}
		return true
	})
	if !found {
		return ours
	}
	return r.unclaimed(ctx, newKeySet(append(ours, r.state.Resolve()...)...).sorted(), p)
}

// reservation is what is kept of ports for us.
type reservation struct {
	ports *allocator.Ports
	// changes is the ledger's count of when ports was looked at.
	changes uint64
	// failed: it could not be written, and that was told.
	failed bool
	// next is when it is looked at in any case: others write the same setting, as a whole.
	next time.Time
}

// reserve keeps the ports that Services claim from being given to somebody else. What cannot be written is told once and
// tried again with the audits: a container without the right to write sysctls has an init container that did it.
func (r *Reconciler) reserve(now time.Time) {
	if r.Reserve == nil {
		return
	}
	again := !now.Before(r.reserved.next)
	changes := r.state.ledger.Changes()
	if changes == r.reserved.changes && !again {
		return
	}
	r.reserved.changes = changes
	ports := r.state.ledger.Ports()
	if !again && ports.Equal(r.reserved.ports) {
		return
	}
	err := r.Reserve(ports)
	if err != nil && !r.reserved.failed {
		r.log.Error(err, "Ports of Services are not reserved: programs that ask for any port may be given one of them")
	}
	r.reserved = reservation{ports: ports, changes: changes, failed: err != nil, next: now.Add(r.SyncPeriod)}
}
