package traffic

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/sync"
)

// object is a virtual server or a real server as somebody sees it who sees every packet.
type object struct {
	// has is what it has counted since it was made, unseen what of that came after the last sample.
	has, unseen uint64
}

// world is a kernel, and what a Meter of it should say: each packet counts for the Service port that its virtual server was
// made for, if the object that counted it lived until somebody looked.
type world struct {
	*kernel
	meter *Meter
	// exact: every round reads all it wants to.
	exact bool

	virtuals map[frontend.Key]*object
	reals    map[frontend.Key]map[netip.AddrPort]*object
	// seen is what the objects had when last looked at, under whose name.
	seen      map[frontend.Key]uint64
	owner     map[frontend.Key]sync.PortRef
	seenReals map[frontend.Key]map[netip.AddrPort]uint64
	ports     map[sync.PortRef]uint64
	endpoints map[sync.PortRef]map[netip.AddrPort]uint64

	before Sample
	rows   map[portName]portRow
}

func newWorld(maxReads int) *world {
	k := newKernel()
	return &world{
		kernel: k, meter: NewMeter(k, k.serving, Options{MaxReads: maxReads}), exact: maxReads >= 100,
		virtuals: map[frontend.Key]*object{}, reals: map[frontend.Key]map[netip.AddrPort]*object{},
		seen: map[frontend.Key]uint64{}, owner: map[frontend.Key]sync.PortRef{}, seenReals: map[frontend.Key]map[netip.AddrPort]uint64{},
		ports: map[sync.PortRef]uint64{}, endpoints: map[sync.PortRef]map[netip.AddrPort]uint64{},
	}
}

// The node has two addresses and three node ports; two of these have the same name.
func drawKey(t *rapid.T) frontend.Key {
	return virtualServer(rapid.Byte().Draw(t, "address")%2+1, 30080+rapid.Uint16().Draw(t, "port")%3)
}

func drawEndpoint(t *rapid.T) netip.AddrPort { return endpoint(rapid.Byte().Draw(t, "endpoint")%3 + 1) }

func drawOwner(t *rapid.T, key frontend.Key) sync.PortRef {
	return web(rapid.SampledFrom([]string{"a", "a", "b"}).Draw(t, "service"), key.Port)
}

// make serves key for ref, with an endpoint: it takes the virtual server over if there is one.
func (w *world) make(key frontend.Key, ref sync.PortRef, addr netip.AddrPort) {
	w.serve(key, ref, addr)
	if w.virtuals[key] == nil {
		w.virtuals[key], w.reals[key] = &object{}, map[netip.AddrPort]*object{}
	}
	if w.reals[key][addr] == nil {
		w.reals[key][addr] = &object{}
	}
}

func (w *world) unmake(key frontend.Key) {
	w.remove(key)
	delete(w.virtuals, key)
	delete(w.reals, key)
}

func (w *world) lose(key frontend.Key, addr netip.AddrPort) {
	if w.virtuals[key] != nil {
		w.drop(key, addr)
		delete(w.reals[key], addr)
	}
}

// flow is traffic, as long as nobody could take what was made anew for what was there before.
func (w *world) flow(key frontend.Key, addr netip.AddrPort, n uint64) {
	v, r := w.virtuals[key], w.reals[key][addr]
	if v == nil || r == nil || !v.told(w.seen[key], n) || !r.told(w.seenReals[key][addr], n) {
		return
	}
	w.connect(key, addr, n)
	for _, o := range []*object{v, r} {
		o.has += n
		o.unseen += n
	}
}

// told reports that the object would be told from one that had seen, after n more.
func (o *object) told(seen, n uint64) bool { return o.has-o.unseen == seen || o.has+n < seen }

// look is what a look at everything makes of the model.
func (w *world) look() {
	names := map[sync.PortRef]map[netip.AddrPort]bool{}
	for key, s := range w.served {
		ref := s.PortRef
		v, seen := w.virtuals[key], w.seen[key]
		former, known := w.owner[key]
		again := v.has < seen
		w.ports[ref] += 0
		taken := known && former != ref && !again
		if !taken {
			w.ports[ref] += v.unseen
			for addr, r := range w.reals[key] {
				w.add(ref, addr, r.unseen)
			}
		} else {
			for addr, r := range w.reals[key] {
				if r.has < w.seenReals[key][addr] {
					w.add(ref, addr, r.unseen)
				} else {
					w.add(ref, addr, 0)
				}
			}
		}
		if again || w.seenReals[key] == nil {
			w.seenReals[key] = map[netip.AddrPort]uint64{}
		}
		// Nobody looks at the real servers of a virtual server that says that they have done nothing.
		looked := v.unseen > 0 || again || taken
		for addr := range w.reals[key] {
			if _, known := w.seenReals[key][addr]; !known {
				looked = true
			}
		}
		w.seen[key], w.owner[key], v.unseen = v.has, ref, 0
		if names[ref] == nil {
			names[ref] = map[netip.AddrPort]bool{}
		}
		for addr, r := range w.reals[key] {
			if looked {
				w.seenReals[key][addr], r.unseen = r.has, 0
			}
			names[ref][addr] = true
		}
	}
	w.forget(names)
}

func (w *world) add(ref sync.PortRef, addr netip.AddrPort, n uint64) {
	if w.endpoints[ref] == nil {
		w.endpoints[ref] = map[netip.AddrPort]uint64{}
	}
	w.endpoints[ref][addr] += n
}

// forget forgets what is not served, and endpoints that are nowhere any more.
func (w *world) forget(live map[sync.PortRef]map[netip.AddrPort]bool) {
	for key := range w.seen {
		ref, served := w.served[key]
		if !served {
			delete(w.seen, key)
			delete(w.owner, key)
			delete(w.seenReals, key)
			continue
		}
		for addr := range w.seenReals[key] {
			if !live[ref.PortRef][addr] {
				delete(w.seenReals[key], addr)
			}
		}
	}
	for ref := range w.endpoints {
		for addr := range w.endpoints[ref] {
			if !live[ref][addr] {
				delete(w.endpoints[ref], addr)
			}
		}
	}
	for ref := range w.ports {
		if live[ref] == nil {
			delete(w.ports, ref)
			delete(w.endpoints, ref)
		}
	}
}

// sample has the Meter look, and compares.
func (w *world) sample(t *rapid.T) {
	got, err := w.meter.Sample(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	w.look()
	ports, endpoints := map[sync.PortRef]ipvs.Counters{}, map[sync.PortRef]map[netip.AddrPort]ipvs.Counters{}
	for ref, p := range got.Ports {
		ports[ref] = p.Counters
		endpoints[ref] = map[netip.AddrPort]ipvs.Counters{}
		for addr, e := range p.Endpoints {
			endpoints[ref][addr] = e.Counters
		}
	}
	want, wantEndpoints := map[sync.PortRef]ipvs.Counters{}, map[sync.PortRef]map[netip.AddrPort]ipvs.Counters{}
	for ref, n := range w.ports {
		want[ref] = connections(n)
		wantEndpoints[ref] = map[netip.AddrPort]ipvs.Counters{}
		for addr, n := range w.endpoints[ref] {
			wantEndpoints[ref][addr] = connections(n)
		}
	}
	if diff := cmp.Diff(want, ports, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("ports (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(wantEndpoints, endpoints, cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.AddrPort{})); w.exact && diff != "" {
		t.Fatalf("endpoints (-want +got):\n%s", diff)
	}
	w.neverFalls(t, got)
}

// neverFalls checks that no sum falls, of a port, an endpoint, or a name.
func (w *world) neverFalls(t *rapid.T, now Sample) {
	for ref, before := range w.before.Ports {
		p, still := now.Ports[ref]
		if still && restarted(p.Counters, before.Counters) {
			t.Fatalf("%v fell from %+v to %+v", ref, before.Counters, p.Counters)
		}
		for addr, e := range before.Endpoints {
			if n, still := p.Endpoints[addr]; still && (restarted(n.Counters, e.Counters) || e.Counted && !n.Counted) {
				t.Fatalf("%v %s fell from %+v to %+v", ref, addr, e, n)
			}
		}
	}
	rows := map[portName]portRow{}
	for _, r := range portRows(now) {
		rows[r.name] = r
		before := w.rows[r.name]
		if restarted(r.Counters, before.Counters) {
			t.Fatalf("%v fell from %+v to %+v", r.name, before.Counters, r.Counters)
		}
		for addr, e := range r.Endpoints {
			if e.Counted && restarted(e.Counters, before.Endpoints[addr].Counters) {
				t.Fatalf("%v %s fell from %+v to %+v", r.name, addr, before.Endpoints[addr], e)
			}
		}
	}
	w.before, w.rows = now, rows
}

func TestSumsNeverFallAndAreThoseOfOneWhoSeesEveryPacket(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(rapid.SampledFrom([]int{1, 2, 100, 100}).Draw(t, "reads a round"))
		t.Repeat(map[string]func(*rapid.T){
			"serve": func(t *rapid.T) {
				key := drawKey(t)
				ref, exists := w.served[key]
				if !exists {
					ref.PortRef = drawOwner(t, key)
				}
				w.make(key, ref.PortRef, drawEndpoint(t))
			},
			"take over": func(t *rapid.T) {
				key := drawKey(t)
				if _, exists := w.served[key]; exists {
					w.make(key, drawOwner(t, key), drawEndpoint(t))
				}
			},
			"make anew": func(t *rapid.T) {
				key := drawKey(t)
				w.unmake(key)
				w.make(key, drawOwner(t, key), drawEndpoint(t))
			},
			"remove":  func(t *rapid.T) { w.unmake(drawKey(t)) },
			"lose":    func(t *rapid.T) { w.lose(drawKey(t), drawEndpoint(t)) },
			"traffic": func(t *rapid.T) { w.flow(drawKey(t), drawEndpoint(t), rapid.Uint64Range(1, 9).Draw(t, "n")) },
			"more":    func(t *rapid.T) { w.flow(drawKey(t), drawEndpoint(t), rapid.Uint64Range(10, 99).Draw(t, "n")) },
			"sample":  w.sample,
		})
		w.sample(t)
	})
}
