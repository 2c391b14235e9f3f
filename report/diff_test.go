package report

import (
	"context"
	"errors"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/nodeaddr"
)

// Each part of our nftables table that is otherwise than it should be has a line, which says how.
func TestEveryDifferenceOfTheNftablesTableIsTold(t *testing.T) {
	key, other := frontend.NewKey(onA, frontend.TCP, 30080), frontend.NewKey(onB, frontend.TCP, 30080)
	office := filter.NewSources([]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, nil)
	lab := filter.NewSources([]netip.Prefix{netip.MustParsePrefix("10.9.0.0/16")}, nil)
	rules := func() filter.Rules {
		return filter.Rules{
			Owned: filter.NewSet(key, other), Masquerade: map[frontend.Key]filter.Masquerade{key: filter.MasqueradeAll},
			Internal: filter.NewSet(key), Sources: map[frontend.Key]*filter.Sources{key: office}, Pods: []netip.Prefix{netip.MustParsePrefix("10.244.1.0/24")},
		}
	}
	for _, c := range []struct {
		name   string
		change func(*filter.State)
		want   []string
	}{
		{"nothing", func(*filter.State) {}, nil},
		{"all of it", func(s *filter.State) { *s = filter.State{} }, []string{"the table is missing: no client is masqueraded, and no source range holds"}},
		{"damage", func(s *filter.State) { s.Intact = false }, []string{"the table is damaged: a set, chain or rule is missing or another"}},
		{"what cannot be read", func(s *filter.State) { s.Stray = []string{"x"} }, []string{"not readable: x"}},
		{"a frontend less", func(s *filter.State) { s.Rules.Owned = filter.NewSet(key) }, []string{"owned: 10.2.0.10:30080/tcp is missing"}},
		{"a frontend more", func(s *filter.State) { s.Rules.Internal = filter.NewSet(key, other) }, []string{"internal: 10.2.0.10:30080/tcp is there and should not be"}},
		{"no frontend inside", func(s *filter.State) { s.Rules.Internal = nil }, []string{"internal: 10.1.0.10:30080/tcp is missing"}},
		{"no masquerade", func(s *filter.State) { s.Rules.Masquerade = nil }, []string{"masquerade: 10.1.0.10:30080/tcp is missing all"}},
		{
			"another masquerade", func(s *filter.State) {
				s.Rules.Masquerade = map[frontend.Key]filter.Masquerade{key: filter.MasqueradePods}
			},
			[]string{"masquerade: 10.1.0.10:30080/tcp is pods instead of all"},
		},
		{
			"other clients", func(s *filter.State) { s.Rules.Sources = map[frontend.Key]*filter.Sources{key: lab} },
			[]string{"sources: 10.1.0.10:30080/tcp is " + lab.String() + " instead of " + office.String()},
		},
		{"all clients", func(s *filter.State) { s.Rules.Sources = nil }, []string{"sources: 10.1.0.10:30080/tcp is missing " + office.String()}},
		{"other pods", func(s *filter.State) { s.Rules.Pods = nil }, []string{"pods: [10.244.1.0/24] is wanted, [] is there"}},
	} {
		found := filter.State{Present: true, Intact: true, Rules: rules()}
		c.change(&found)
		if diff := cmp.Diff(c.want, rulesDiff(rules(), found)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

func TestOnlyWhatDiffersTwiceIsADifference(t *testing.T) {
	first := Difference{Frontends: []FrontendDiff{{Frontend: "a"}, {Frontend: "b"}}, Nftables: []string{"x", "y"}}
	second := Difference{Frontends: []FrontendDiff{{Frontend: "b"}, {Frontend: "c"}}, Nftables: []string{"y", "z"}}
	want := Difference{Frontends: []FrontendDiff{{Frontend: "b"}}, Nftables: []string{"y"}}
	if diff := cmp.Diff(want, second.Only(first)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if (Difference{Nftables: []string{"x"}}).Same() || (Difference{Frontends: []FrontendDiff{{}}}).Same() || !(Difference{}).Same() {
		t.Error("a difference in one of the two is a difference")
	}
}

// Beside kube-proxy in IPVS mode a node has the addresses of all Services: what stands on those is nobody's business here.
func TestVirtualServersOnAddressesOfServicesAreNotForeign(t *testing.T) {
	o := overview(node())
	ofServices := netip.MustParseAddr("10.96.0.10")
	o.All = append(o.All, nodeaddr.Address{Addr: ofServices, Interface: "kube-ipvs0"})
	d := Diff("node1", o, ipvs.Table{
		frontend.NewKey(ofServices, frontend.TCP, 30099): {}, frontend.NewKey(onA, frontend.TCP, 30099): {},
	}, nil)
	if diff := cmp.Diff([]string{"10.1.0.10:30099/tcp"}, d.Foreign); diff != "" {
		t.Errorf("foreign (-want +got):\n%s", diff)
	}
}

// broken is a kernel whose answer to one question is an error.
type broken struct {
	ipvs.Handle
	err error
}

func (b broken) Get(context.Context, frontend.Key) (ipvs.Entry, map[netip.AddrPort]ipvs.Connections, error) {
	return ipvs.Entry{}, nil, b.err
}

func TestAKernelThatFailsIsNoKernelWithoutVirtualServers(t *testing.T) {
	fails := errors.New("out of memory")
	k := ReadKernel(t.Context(), broken{err: fails}, []frontend.Key{frontend.NewKey(onA, frontend.TCP, 30080)})
	if !errors.Is(k.Err, fails) {
		t.Errorf("the error is %v", k.Err)
	}
	if e, _ := Explain("node1", overview(node()), shopWeb, k); e.KernelUnknown != "out of memory" || e.State != Served {
		t.Errorf("explained is %q, %q", e.State, e.KernelUnknown)
	}
}

func TestAServiceThatTheKernelHasNothingOfIsNotServed(t *testing.T) {
	for n, want := range map[int]State{0: NotServed, 1: Partly, 2: Served} {
		keys := []frontend.Key{frontend.NewKey(onA, frontend.TCP, 30080), frontend.NewKey(onB, frontend.TCP, 30080)}
		if e, _ := Explain("node1", overview(node()), shopWeb, has(keys[:n]...)); e.State != want || e.Ports[0].State != want {
			t.Errorf("the kernel has %d of 2 virtual servers, and it is %q, its port %q, want %q", n, e.State, e.Ports[0].State, want)
		}
	}
}
