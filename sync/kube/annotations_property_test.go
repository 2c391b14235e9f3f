package kube

import (
	"maps"
	"net/netip"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"pgregory.net/rapid"

	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/nodeaddr"
	"github.com/kube-ipvs/kube-ipvs/sync"
)

// annotationKeys are those of the table, and some that nobody knows.
func annotationKeys() []string {
	var keys []string
	for _, a := range annotations() {
		keys = append(keys, a.key)
	}
	return append(keys, annotationPrefix+"network", annotationPrefix+"colour", annotationPrefix, "", "example.com/scheduler", kubeRouterPrefix+"dsr")
}

// drawValue is a value that is often good for some annotation.
func drawValue(t *rapid.T) string {
	words := rapid.SliceOfN(rapid.SampledFrom([]string{
		"internal", "dmz", "lan", "primary", "all", "iface:eth*", "10.0.0.0/8", "10.1.2.3", "0.0.0.0/0", "fd00::/8", "::ffff:10.0.0.1",
		"rr", "mh", "lc", "twos", "sh-port", "mh-port", "mh-fallback", "mh-no-fallback", "flag-2", "zone:east=3", "node:node-b=0", "label:rack=7",
		"*=65535", "443=80", "80=80", "true", "1", "1000", "30s", "/24", "/64", "", " ", "x",
	}), 1, 3).Draw(t, "words")
	return strings.Join(words, rapid.SampledFrom([]string{",", ", ", ";"}).Draw(t, "comma"))
}

func drawAnnotations(t *rapid.T) map[string]string {
	return rapid.MapOfN(rapid.SampledFrom(annotationKeys()), rapid.OneOf(rapid.Custom(drawValue), rapid.String()), 0, 5).Draw(t, "annotations")
}

// choosingAndOpening are options of a node with two networks, on which Services may open ports.
func choosingAndOpening(t testing.TB) Options {
	o := choosing(t)
	o.ExtraPorts = opening(t, "80,443").ExtraPorts
	return o
}

// neighbours are three Services in a State, of which the second one is changed.
type neighbours struct {
	source *State
	seen   map[string]sync.Service
}

func newNeighbours(t testing.TB) *neighbours {
	n := &neighbours{source: newState(choosingAndOpening(t), ""), seen: map[string]sync.Service{}}
	this := node("node-a", "10.1.0.10")
	n.source.change(func() {
		n.source.setNode(this)
		n.source.setNodeLabels("node-b", map[string]string{"rack": "r1"})
		for i, name := range []string{"a", "b", "c"} {
			n.source.setService(n.service(name, i))
			slice := webSlice()
			slice.Name, slice.Labels = name, map[string]string{discoveryv1.LabelServiceName: name}
			n.source.setSlice(slice)
		}
		n.source.setSynced()
	})
	n.look()
	return n
}

func (*neighbours) service(name string, i int) *corev1.Service {
	svc := webService(name, int32(30000+i))
	svc.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
	return svc
}

// annotate gives the second Service other annotations, and returns whose Services the node hears of.
func (n *neighbours) annotate(annotations map[string]string) []string {
	svc := n.service("b", 1)
	svc.Annotations = annotations
	n.source.change(func() { n.source.setService(svc) })
	return n.look()
}

func (n *neighbours) look() []string {
	var names []string
	update, _ := n.source.Next()
	for _, svc := range update.Services {
		names = append(names, svc.ID.Name)
		n.seen[svc.ID.Name] = svc
	}
	return names
}

// Nothing that one author writes is even looked at for the others, and nothing is left of it once it is removed.
func TestAnnotationsTouchNoOtherServiceAndLeaveNothing(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := newNeighbours(t)
		before := maps.Clone(n.seen)
		for range rapid.IntRange(1, 3).Draw(rt, "changes") {
			for _, name := range n.annotate(drawAnnotations(rt)) {
				if name != "b" {
					rt.Fatalf("Service %s is another one now", name)
				}
			}
		}
		n.annotate(nil)
		if diff := cmp.Diff(before, n.seen, append(compareValues(), cmp.Comparer((*filter.Sources).Equal))...); diff != "" {
			rt.Fatalf("after all annotations were removed (-before +after):\n%s", diff)
		}
	})
}

// The same holds for all that the node makes of it.
func TestRemovedAnnotationsLeaveTheTableAsItWas(t *testing.T) {
	served := func(n *neighbours) *sync.State { return serve([]netip.Addr{netip.MustParseAddr("10.1.0.10")}, n.all()) }
	rapid.Check(t, func(rt *rapid.T) {
		n := newNeighbours(t)
		s := served(n)
		want, settings := renderServed(s), s.ViewSettings()
		n.annotate(drawAnnotations(rt))
		s.Update(n.all())
		s.Resolve()
		for _, v := range s.ViewSettings() {
			if v.Service.Name != "b" {
				rt.Fatalf("settings of Service %s", v.Service)
			}
		}
		n.annotate(nil)
		s.Update(n.all())
		s.Resolve()
		if diff := cmp.Diff(want, renderServed(s)); diff != "" {
			rt.Fatalf("(-before +after):\n%s", diff)
		}
		if diff := cmp.Diff(settings, s.ViewSettings()); diff != "" {
			rt.Fatalf("settings (-before +after):\n%s", diff)
		}
	})
}

func (n *neighbours) all() sync.Update {
	return sync.Update{Services: slices.Collect(maps.Values(n.seen))}
}

// naive reads restrictions in the simplest way there is: what of clients and places a list names. It says nothing of
// whether the list is right.
type naive struct {
	places  []nodeaddr.Place
	clients []netip.Addr
}

func (naive) names(list string, name func(entry string) bool) bool {
	return slices.ContainsFunc(strings.Split(list, ","), func(e string) bool { return name(strings.TrimSpace(e)) })
}

// place reports whether a list of networks names a place, on a node such as choosing.
func (n naive) place(list string, p nodeaddr.Place) bool {
	return n.names(list, func(e string) bool {
		switch e {
		case "internal":
			return n.place("10.0.0.0/8,iface:eth1", p)
		case "dmz":
			return n.place("iface:dmz*", p)
		case "all":
			return true
		case "primary":
			return p.Primary
		}
		if glob, is := strings.CutPrefix(e, "iface:"); is {
			return slices.ContainsFunc(p.Interfaces, func(name string) bool { ok, _ := path.Match(glob, name); return ok })
		}
		prefix, err := netip.ParsePrefix(e)
		return err == nil && prefix.Contains(p.Addr)
	})
}

// client reports whether a list of ranges names a client.
func (n naive) client(list string, client netip.Addr) bool {
	return n.names(list, func(e string) bool {
		if addr, err := netip.ParseAddr(e); err == nil {
			return addr == client
		}
		prefix, err := netip.ParsePrefix(e)
		return err == nil && prefix.Contains(client)
	})
}

// admits is what a list of sources does to a client, as package filter has it.
func admits(s *filter.Sources, client netip.Addr) bool {
	in := func(list []netip.Prefix) bool {
		return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(client) })
	}
	return !in(s.Deny()) && (len(s.Allow()) == 0 || in(s.Allow()))
}

// checkNotWider: whoever reaches the Service wherever is named by what restricts it.
func (n naive) checkNotWider(t *testing.T, svc *corev1.Service, got sync.Service) {
	if len(got.Ports) == 0 {
		return
	}
	networks, narrowed := svc.Annotations[annotationNetworks]
	for _, p := range n.places {
		if narrowed && (got.Networks == nil || got.Networks.Selects(p)) && !n.place(networks, p) {
			t.Errorf("networks %q: it is served at %v, by %v", networks, p, got.Networks)
		}
	}
	allow, allowed := svc.Annotations[annotationSourceRanges]
	deny, denied := svc.Annotations[annotationPrefix+"deny-source-ranges"]
	for _, c := range n.clients {
		if admits(got.Sources, c) && (allowed && !n.client(allow, c) || denied && n.client(deny, c)) {
			t.Errorf("allowed %q, denied %q: %s may connect, by %q", allow, deny, c, got.Sources)
		}
	}
}

func someNaive() naive {
	n := naive{places: []nodeaddr.Place{
		{Addr: netip.MustParseAddr("10.1.0.10"), Interfaces: []string{"eth0"}, Primary: true},
		{Addr: netip.MustParseAddr("192.0.2.10"), Interfaces: []string{"dmz0", "eth1"}},
		{Addr: netip.MustParseAddr("198.51.100.1")},
		{Addr: netip.MustParseAddr("fd01::10"), Interfaces: []string{"eth0"}, Primary: true},
	}}
	for _, text := range []string{"10.0.0.1", "10.1.2.3", "10.66.0.1", "192.0.2.7", "255.255.255.255", "::1", "fd00::1", "2001:db8::7"} {
		n.clients = append(n.clients, netip.MustParseAddr(text))
	}
	return n
}

// Whatever is written: two restrictions, each read or not.
func TestRestrictionsNeverOpenWiderThanTheyAreWritten(t *testing.T) {
	n, o := someNaive(), choosing(t)
	list := rapid.Custom(drawValue)
	rapid.Check(t, func(rt *rapid.T) {
		svc := annotated()
		for _, key := range []string{"networks", "source-ranges", "deny-source-ranges"} {
			if rapid.Bool().Draw(rt, "has "+key) {
				svc.Annotations[annotationPrefix+key] = list.Draw(rt, key)
			}
		}
		svc.Annotations[rapid.SampledFrom(annotationKeys()).Draw(rt, "another")] = list.Draw(rt, "its value")
		n.checkNotWider(t, svc, Translate(svc, nil, o))
		if t.Failed() {
			rt.Fatal("see above")
		}
	})
}

// The key is the one of the table with this index, on a Service that has ranges of both kinds.
func FuzzAnnotations(f *testing.F) {
	keys := annotationKeys()
	for i, a := range annotations() {
		f.Add(uint8(i), a.example)
		f.Add(uint8(i), "")
	}
	n, o := someNaive(), choosingAndOpening(f)
	o.SpecSourceRanges = true
	f.Fuzz(func(t *testing.T, index uint8, value string) {
		key := keys[int(index)%len(keys)]
		svc := annotated("deny-source-ranges=10.66.0.0/16")
		svc.Annotations[key] = value
		svc.Spec.Type, svc.Spec.LoadBalancerSourceRanges = corev1.ServiceTypeLoadBalancer, []string{"10.0.0.0/8"}
		got := Translate(svc, []*discoveryv1.EndpointSlice{webSlice()}, o)
		n.checkNotWider(t, svc, got)
		if _, own := svc.Annotations[annotationSourceRanges]; !own && len(got.Ports) > 0 && admits(got.Sources, netip.MustParseAddr("192.0.2.7")) {
			t.Errorf("%s=%q opens the Service to more than its spec", key, value)
		}
		for _, p := range got.Ports {
			checkPort(t, p, o)
		}
		if len(got.Ports) == 0 && !slices.ContainsFunc(got.Problems, func(p sync.Problem) bool { return p.Skipped }) {
			t.Errorf("%s=%q closes the Service, and nobody is told", key, value)
		}
	})
}

// checkPort: the kernel takes whatever comes of annotations.
func checkPort(t *testing.T, p sync.ServicePort, o Options) {
	if p.Scheduler != "" && !slices.Contains(o.AllowedSchedulers, p.Scheduler) {
		t.Errorf("scheduler %q", p.Scheduler)
	}
	if p.Extra && o.refusesExtra(p.NodePort) != "" {
		t.Errorf("extra port %d", p.NodePort)
	}
	if p.Limits.Lower > p.Limits.Upper || p.Limits.Upper > 1<<31-1 {
		t.Errorf("limits %v", p.Limits)
	}
	if p.SlowStart != 0 && (p.SlowStart < minSlowStart || p.SlowStart > maxSlowStart) {
		t.Errorf("slow start %s", p.SlowStart)
	}
	if p.DrainTimeout != 0 && (p.DrainTimeout < minDrainTimeout || p.DrainTimeout > maxDrainTimeout) {
		t.Errorf("drain timeout %s", p.DrainTimeout)
	}
	if p.Affinity.Prefix4 > 32 || p.Affinity.Prefix6 > 128 {
		t.Errorf("prefixes of affinity %v", p.Affinity)
	}
	for _, e := range p.Endpoints {
		if e.Maintenance && e.Weight != 0 || p.SlowStart != 0 && e.Weight > maxSlowStartWeight {
			t.Errorf("endpoint %+v with slow start %s", e, p.SlowStart)
		}
	}
}
