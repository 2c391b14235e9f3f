package sync

import (
	"context"
	"net/netip"
	"slices"
	stdsync "sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/filter/filtertest"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
)

// sources is a list that allows these networks.
func sources(allow ...string) *filter.Sources {
	var list []netip.Prefix
	for _, text := range allow {
		list = append(list, netip.MustParsePrefix(text))
	}
	return filter.NewSources(list, nil)
}

func restricted(svc Service, allow ...string) Service {
	svc.Sources = sources(allow...)
	return svc
}

// clients compares who may connect, "FRONTEND LIST" for each frontend that is restricted.
func (g *rig) clients(want ...string) {
	g.t.Helper()
	if diff := cmp.Diff(want, clientsOf(g.rules())); diff != "" {
		g.t.Errorf("clients (-want +got):\n%s", diff)
	}
}

func clientsOf(rules filter.Rules) []string {
	var lines []string
	for key, s := range rules.Sources {
		lines = append(lines, key.String()+" "+s.String())
	}
	slices.Sort(lines)
	return lines
}

// script is what happens in order: what the kernel is told, and what nftables is told of the clients of frontends.
type script struct {
	mu    stdsync.Mutex
	lines []string
}

func (s *script) note(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, line)
}

// take is what happened since it was asked last.
func (s *script) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	lines := s.lines
	s.lines = nil
	return lines
}

func (s *script) watch(c *Config) {
	c.Kernel = &witness{Handle: c.Kernel, saw: func(op ipvs.Op) { s.note(op.Verb.String()) }}
	c.Filter = scriptedFilter{c.Filter, s}
}

// scriptedFilter notes each transaction with the lists that it changes and the keys that it gives up.
type scriptedFilter struct {
	Filter
	script *script
}

func (f scriptedFilter) Apply(ctx context.Context, c filter.Change) error {
	line := "nft"
	for _, s := range c.Sources {
		line += " [" + s.Was.String() + "]->[" + s.Is.String() + "]"
	}
	for range c.DelOwned {
		line += " gone"
	}
	f.script.note(line)
	return f.Filter.Apply(ctx, c)
}

func (s *script) expect(t *testing.T, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, s.take()); diff != "" {
		t.Errorf("in order (-want +got):\n%s", diff)
	}
}

// No client gets through for a moment, and none is kept out for one.
func TestListOfClientsIsInForceBeforeAndAsLongAsTheFrontend(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		var s script
		g := start(t, kernel, nft, s.watch)
		g.serve() // the table is there
		g.deliver(restricted(web(stays), "10.0.0.0/8"))
		s.expect(t, "nft []->[allow 10.0.0.0/8]", ipvs.AddVirtual.String(), ipvs.AddReal.String())
		g.clients("tcp://10.1.0.10:30080 allow 10.0.0.0/8")

		g.deliver(restricted(web(stays, leaves), "192.0.2.0/24"))
		s.expect(t, "nft [allow 10.0.0.0/8]->[allow 192.0.2.0/24]", ipvs.AddReal.String())
		g.clients("tcp://10.1.0.10:30080 allow 192.0.2.0/24")

		g.deliver(restricted(web(stays, leaves), "192.0.2.0/24")) // another value of the same list
		s.expect(t)

		g.deliver(web(stays, leaves, "10.244.3.2:8080"))
		s.expect(t, ipvs.AddReal.String(), "nft [allow 192.0.2.0/24]->[]")
		g.clients()

		g.deliver(restricted(web(stays), "10.0.0.0/8")) // two leave
		s.expect(t, "nft []->[allow 10.0.0.0/8]", ipvs.SetReal.String(), ipvs.SetReal.String())
		g.after(time.Minute)
		s.take()
		busy(kernel, 1)
		g.deliver(gone("web"))
		s.expect(t, ipvs.SetReal.String())
		g.clients("tcp://10.1.0.10:30080 allow 10.0.0.0/8") // of the connections that are left
		g.after(time.Minute)
		s.expect(t, ipvs.DelVirtual.String(), "nft [allow 10.0.0.0/8]->[] gone")
		g.clients()
	})
}

func TestManyServicesShareAListAndItsTransactions(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft)
		g.addresses.set("10.1.0.10", "fd01::10")
		both := func(networks string) []Service {
			return []Service{restricted(web(stays), networks), restricted(service("api", 30081, stays), networks)}
		}
		g.deliver(both("10.0.0.0/8")...)
		writes := nft.Writes()
		g.deliver(both("192.0.2.0/24")...)
		g.clients(
			"tcp://10.1.0.10:30080 allow 192.0.2.0/24", "tcp://10.1.0.10:30081 allow 192.0.2.0/24",
			"tcp://[fd01::10]:30080 allow 192.0.2.0/24", "tcp://[fd01::10]:30081 allow 192.0.2.0/24",
		)
		if n := nft.Writes() - writes; n != 3 { // the list is made, all are pointed to it, the old one is removed
			t.Errorf("%d transactions, want three", n)
		}
		g.deliver(web(stays))
		g.clients("tcp://10.1.0.10:30081 allow 192.0.2.0/24", "tcp://[fd01::10]:30081 allow 192.0.2.0/24")
	})
}

// Neither is it served to more clients than it asks for, nor is anybody else's Service held up.
func TestServiceWhoseListCannotBeWrittenIsHeld(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		nft.SetFault(filtertest.Refuse(tcp("10.1.0.10", 30080)))
		g := start(t, kernel, nft)
		g.serve(restricted(web(stays), "10.0.0.0/8"), service("other", 30081, stays))
		g.after(time.Minute)
		g.expect("tcp://10.1.0.10:30081 rr 10.244.1.2:8080*1")
		nft.SetFault(nil)
		g.after(5 * time.Minute)
		g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1", "tcp://10.1.0.10:30081 rr 10.244.1.2:8080*1")
		g.clients("tcp://10.1.0.10:30080 allow 10.0.0.0/8")

		nft.SetFault(filtertest.Refuse(tcp("10.1.0.10", 30080)))
		g.deliver(restricted(web(stays, leaves), "192.0.2.0/24"), service("other", 30081, stays, leaves))
		g.after(time.Minute)
		g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1", "tcp://10.1.0.10:30081 rr 10.244.1.2:8080*1 10.244.2.2:8080*1")
		g.clients("tcp://10.1.0.10:30080 allow 10.0.0.0/8")
		if g.Status().Err == nil && len(g.Status().Problems) == 0 {
			t.Error("nobody is told")
		}
		nft.SetFault(nil)
		g.after(5 * time.Minute)
		g.clients("tcp://10.1.0.10:30080 allow 192.0.2.0/24")
		g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1 10.244.2.2:8080*1", "tcp://10.1.0.10:30081 rr 10.244.1.2:8080*1 10.244.2.2:8080*1")
	})
}

// A list that cannot be taken away is tried again: until then fewer connect than may.
func TestListThatCannotBeRemovedIsTriedAgain(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft)
		g.serve(restricted(web(stays), "10.0.0.0/8"))
		nft.SetFault(filtertest.Refuse(tcp("10.1.0.10", 30080)))
		g.deliver(web(stays, leaves))
		g.after(10 * time.Second)
		g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1 10.244.2.2:8080*1")
		nft.SetFault(nil)
		g.after(time.Minute)
		g.clients()
	})
}

func TestRestartKeepsTheListsAndWritesNothing(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		services := []Service{restricted(web(stays), "10.0.0.0/8", "fd00::/8"), restricted(service("gone", 30081, leaves), "192.0.2.0/24"), service("open", 30082, stays)}
		g := start(t, kernel, nft)
		g.serve(services...)
		g.stop()
		before := g.writes()
		g = start(t, kernel, nft)
		g.serve(services...)
		g.after(5 * time.Minute)
		if n := g.writes() - before; n != 0 {
			t.Errorf("%d writes after a restart with nothing changed", n)
		}
		g.stop()
		g = start(t, kernel, nft) // and one during which a list changed, another Service went, and a third got a list
		g.serve(restricted(web(stays), "10.0.0.0/8"), restricted(service("open", 30082, stays), "192.0.2.0/24"))
		g.after(time.Minute)
		g.clients("tcp://10.1.0.10:30080 allow 10.0.0.0/8", "tcp://10.1.0.10:30082 allow 192.0.2.0/24")
	})
}

// Somebody's flush opens the Service until it is noticed, which is at once.
func TestFlushedListsAreRestored(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft)
		g.serve(restricted(web(stays), "10.0.0.0/8"))
		if err := nft.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		g.foreign <- struct{}{}
		g.after(time.Second)
		g.clients("tcp://10.1.0.10:30080 allow 10.0.0.0/8")
	})
}

// Two Services claim one port: who holds it says who may connect.
func TestListGoesWithTheServiceThatHoldsTheFrontend(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		heir := restricted(service("heir", 30080, stays), "192.0.2.0/24")
		heir.Created = heir.Created.Add(time.Hour)
		g := start(t, kernel, nft)
		g.serve(restricted(web(stays), "10.0.0.0/8"), heir)
		g.clients("tcp://10.1.0.10:30080 allow 10.0.0.0/8")
		g.deliver(gone("web"))
		g.clients("tcp://10.1.0.10:30080 allow 192.0.2.0/24")
	})
}

func TestFrontendsDifferInTheirClients(t *testing.T) {
	f := func(s *filter.Sources) Frontend { return Frontend{Sources: s} }
	if !f(sources("10.0.0.0/8")).Equal(f(sources("10.1.2.3/8"))) {
		t.Error("the same list in another notation is another one")
	}
	for _, other := range []*filter.Sources{nil, sources("10.0.0.0/9"), filter.Nobody()} {
		if f(sources("10.0.0.0/8")).Equal(f(other)) {
			t.Errorf("%q is the same list", other)
		}
	}
}

// The list of the heir admits others: they must not reach the endpoints of the Service before it.
func TestListOfTheNextServiceWaitsForTheEndpointsOfTheOneBefore(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		var s script
		heir := restricted(service("heir", 30080, leaves), "10.1.0.0/16", "192.0.2.0/24")
		g := start(t, kernel, nft, s.watch)
		g.serve(restricted(web(stays), "10.0.0.0/8"))
		s.take()
		g.deliver(gone("web"), heir)
		s.expect(t,
			"nft [allow 10.0.0.0/8]->[allow 10.1.0.0/16]", ipvs.AddReal.String(), ipvs.SetReal.String(),
			"nft [allow 10.1.0.0/16]->[allow 10.1.0.0/16 192.0.2.0/24]")
		g.clients("tcp://10.1.0.10:30080 allow 10.1.0.0/16 192.0.2.0/24")
	})
}

// changesOf keeps what is to be written.
type changesOf struct {
	Filter
	all *[]filter.Change
}

func (f changesOf) Apply(ctx context.Context, c filter.Change) error {
	*f.all = append(*f.all, c)
	return f.Filter.Apply(ctx, c)
}

// One of thousands of networks takes some ten milliseconds to make, and a Service may have a thousand frontends.
func TestWhatTwoListsHaveInCommonIsMadeOnceForAllFrontendsOfAService(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		var changes []filter.Change
		g := start(t, kernel, nft, func(c *Config) { c.Filter = changesOf{c.Filter, &changes} })
		before := withPorts(restricted(service("web", 30080, "10.244.1.1:8080"), "10.0.0.0/8"), 30080, 30081, 30082)
		g.serve(before)
		g.after(time.Second)
		changes = nil
		g.deliver(withPorts(restricted(service("web", 30080, "10.244.1.2:8080"), "10.1.0.0/16", "192.0.2.0/24"), 30080, 30081, 30082))
		g.after(time.Second)
		if len(changes) == 0 || len(changes[0].Sources) != 3 {
			t.Fatalf("the first change is %+v, want other clients of three frontends", changes)
		}
		first := changes[0].Sources[0].Is
		if !first.Equal(sources("10.1.0.0/16")) {
			t.Errorf("while its endpoints change %q may connect, want those of both lists", first)
		}
		for _, s := range changes[0].Sources {
			if s.Is != first {
				t.Errorf("the list of %s was made anew", s.Key)
			}
		}
	})
}

// withPorts is a Service with its port under several numbers.
func withPorts(svc Service, numbers ...uint16) Service {
	port := svc.Ports[0]
	svc.Ports = nil
	for _, n := range numbers {
		port.NodePort = n
		svc.Ports = append(svc.Ports, port)
	}
	return svc
}
