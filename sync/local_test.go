package sync

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/filter/filtertest"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
)

// local is a Service with externalTrafficPolicy Local.
func local(endpoints ...string) Service {
	svc := web(endpoints...)
	svc.Ports[0].Policy = Local
	return svc
}

func TestLocalPolicyWithoutLocalEndpointsServesTheNodeAndItsPodsAlone(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		key := tcp("10.1.0.10", 30080)
		g := start(t, kernel, nft)
		g.serve(local("10.244.1.2:8080 local", "10.244.2.2:8080"))
		g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1")

		kernel.SetConnections(key, netip.MustParseAddrPort("10.244.1.2:8080"), ipvs.Connections{Active: 1})
		g.deliver(local("10.244.2.2:8080"))
		g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*0 10.244.2.2:8080*1") // the old one drains
		g.masquerades(all(key))
		if !g.rules().Internal.Has(key) {
			t.Error("anybody may connect, and would be sent to another node")
		}

		g.deliver(local("10.244.1.3:8080 local", "10.244.2.2:8080"))
		g.masquerades(map[frontend.Key]filter.Masquerade{key: filter.MasqueradePods})
		if g.rules().Internal.Has(key) {
			t.Error("clients from outside are still dropped")
		}

		g.deliver(local())
		if g.rules().Internal.Has(key) {
			t.Error("clients are dropped where they should be refused: nobody has an endpoint")
		}
	})
}

// Under both policies everybody is masqueraded and the real servers are the same: the drop alone tells them apart.
func TestClientsOutsideAreServedAgainWhenThePolicyBecomesCluster(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		key := tcp("10.1.0.10", 30080)
		g := start(t, kernel, nft)
		g.serve(local("10.244.2.2:8080"))
		if !g.rules().Internal.Has(key) {
			t.Error("anybody may connect")
		}
		g.deliver(web("10.244.2.2:8080"))
		if g.rules().Internal.Has(key) {
			t.Error("clients from outside are still dropped")
		}
		g.deliver(local("10.244.2.2:8080"))
		if !g.rules().Internal.Has(key) {
			t.Error("anybody may connect again")
		}
	})
}

// A connection that IPVS takes before the rule is there would reach a pod on another node, which sees the client's own
// address and answers past this node.
func TestWhatMayNotComeInIsDroppedBeforeItIsServed(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft)
		g.serve(local("10.244.1.2:8080 local", "10.244.2.2:8080"))
		nft.SetFault(filtertest.Refuse(tcp("10.1.0.10", 30080)))
		g.deliver(local("10.244.2.2:8080"))
		g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1") // held
		nft.SetFault(nil)
		g.after(time.Minute)
		g.expect("tcp://10.1.0.10:30080 rr 10.244.2.2:8080*1")
		if !g.rules().Internal.Has(tcp("10.1.0.10", 30080)) {
			t.Error("anybody may connect")
		}
	})
}

// The rule goes only after what it protects from has gone.
func TestWhatProtectsAFrontendStaysWhileTheKernelRefusesItsChange(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		key := tcp("10.1.0.10", 30080)
		once := ipvsfake.Fault{Verb: ipvs.AddReal, Real: netip.MustParseAddrPort("10.244.1.2:8080"), Err: syscall.ENOMEM}
		g := start(t, kernel, nft, func(c *Config) {
			c.Kernel = ipvsfake.Faulty(c.Kernel, ipvsfake.Faults{Once: []ipvsfake.Fault{once, once}}) // and once with the first look at who leaves
		})
		g.serve(local("10.244.2.2:8080"))
		g.deliver(local("10.244.1.2:8080 local", "10.244.2.2:8080"))
		g.expect("tcp://10.1.0.10:30080 rr 10.244.2.2:8080*1")
		g.masquerades(all(key))
		if !g.rules().Internal.Has(key) {
			t.Error("clients from outside are let through to a pod on another node")
		}
		g.after(time.Minute)
		g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1")
		g.masquerades(map[frontend.Key]filter.Masquerade{key: filter.MasqueradePods})
	})
}

func TestMasqueradeRemoteIsTheNodesDefault(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft, func(c *Config) { c.Masquerade = filter.MasqueradeRemote })
		g.serve(web("10.244.1.2:8080 local", "10.244.2.2:8080"))
		g.masquerades(map[frontend.Key]filter.Masquerade{tcp("10.1.0.10", 30080): filter.MasqueradeRemote})
	})
}

// deliverNode is a change of the Node.
func (g *rig) deliverNode(podCIDRs ...string) {
	node := Node{Name: "node1"}
	for _, text := range podCIDRs {
		node.PodCIDRs = append(node.PodCIDRs, netip.MustParsePrefix(text))
	}
	g.source.deliver(func(u *Update) { u.Node = &node })
	g.after(0)
}

func (g *rig) wantPods(texts ...string) {
	g.t.Helper()
	var want []netip.Prefix
	for _, text := range texts {
		want = append(want, netip.MustParsePrefix(text))
	}
	if got := g.rules().Pods; !slices.Equal(got, want) {
		g.t.Errorf("networks of pods: %v, want %v", got, want)
	}
}

// fromNode has pods told by the networks of the Node object.
func fromNode(c *Config) { c.PodsByInterface = false }

func TestTheNetworksOfPodsFollowTheNode(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft, fromNode)
		g.serve(local("10.244.1.2:8080 local"))
		g.deliverNode()
		g.wantPods()
		g.deliverNode("fd44:1::/64", "10.244.1.0/24")
		g.wantPods("10.244.1.0/24", "fd44:1::/64")
		g.deliverNode("10.244.0.0/16")
		g.wantPods("10.244.0.0/16")
		g.deliverNode() // whoever wrote that, the pods are still there
		g.wantPods("10.244.0.0/16")
		g.stop()

		before := g.writes()
		g = start(t, kernel, nft, fromNode)
		g.serve(local("10.244.1.2:8080 local"))
		g.wantPods("10.244.0.0/16") // nobody has said otherwise
		if problems := g.Status().Problems; len(problems) > 0 {
			t.Errorf("they are known: %v", problems)
		}
		g.deliverNode("10.244.0.0/16")
		g.after(5 * time.Minute)
		if n := g.writes() - before; n != 0 {
			t.Errorf("%d writes after a restart with nothing changed", n)
		}
	})
}

func TestTheNetworksOfPodsMayBeConfigured(t *testing.T) {
	for _, c := range []struct {
		name      string
		configure func(*Config)
		want      []string
	}{
		{"as networks", func(c *Config) {
			c.PodsByInterface, c.Pods = false, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
		}, []string{"10.0.0.0/8"}},
		{"as networks in any order", func(c *Config) {
			c.PodsByInterface = false
			c.Pods = []netip.Prefix{netip.MustParsePrefix("fd44::/48"), netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("10.0.0.0/8")}
		}, []string{"10.0.0.0/8", "fd44::/48"}},
		{"as an interface", func(c *Config) { c.PodsByInterface = true }, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
				g := start(t, kernel, nft, c.configure)
				g.serve(local("10.244.1.2:8080 local"))
				g.deliverNode("10.244.1.0/24")
				g.wantPods(c.want...)
				if problems := g.Status().Problems; len(problems) > 0 {
					t.Errorf("problems: %v", problems)
				}
				before := g.writes()
				g.after(5 * time.Minute)
				if n := g.writes() - before; n != 0 {
					t.Errorf("%d writes with nothing changed", n)
				}
			})
		})
	}
}

func TestNetworksOfPodsThatCannotBeWrittenAreTriedAgain(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft, fromNode, func(c *Config) { c.SyncPeriod = time.Hour })
		g.serve(web("10.244.1.2:8080"))
		tries := 0
		nft.SetFault(func(transaction string) error {
			if strings.Contains(transaction, "pods-ipv4 {") {
				tries++
				return errors.New("busy")
			}
			return nil
		})
		g.deliverNode("10.244.1.0/24")
		g.deliver(web("10.244.1.2:8080", "10.244.1.3:8080"))
		if tries != 1 {
			t.Errorf("%d tries at once", tries)
		}
		g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1 10.244.1.3:8080*1") // holds nothing else up
		if g.Status().Err == nil {
			t.Error("nobody is told")
		}
		g.after(time.Hour)
		if h := g.Health(time.Now()); !h.Ready {
			t.Errorf("the whole node is not ready: %s", h.Reason)
		}
		nft.SetFault(nil)
		g.after(time.Minute)
		g.wantPods("10.244.1.0/24")
		if err := g.Status().Err; err != nil {
			t.Errorf("still failing: %v", err)
		}
	})
}

func TestNetworksOfPodsThatGoBackBeforeTheyCouldBeWrittenAreFine(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft, fromNode)
		g.serve(web("10.244.1.2:8080"))
		g.deliverNode("10.244.1.0/24")
		nft.SetFault(func(string) error { return errors.New("busy") })
		g.deliverNode("10.244.2.0/24")
		nft.SetFault(nil)
		g.deliverNode("10.244.1.0/24")
		g.after(time.Minute)
		if err := g.Status().Err; err != nil {
			t.Errorf("still failing: %v", err)
		}
	})
}

func TestLocalPolicyIsAProblemWhereNobodyKnowsThePods(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft, fromNode)
		g.addresses.set("10.1.0.10", "fd01::10")
		wantProblem := func(families string) {
			t.Helper()
			problems := g.Status().Problems
			if len(problems) != 1 || problems[0].Object != "Service default/web" || problems[0].Reason != NoPodNetwork ||
				!strings.Contains(problems[0].Message, "not known for "+families+",") {
				t.Errorf("problems: %v, want one of Service default/web for %s", problems, families)
			}
		}
		g.deliver(local("10.244.1.2:8080 local"), service("other", 30081, "10.244.1.3:80")) // and no Node at all
		wantProblem("IPv4 and IPv6")
		g.deliverNode()
		wantProblem("IPv4 and IPv6")
		g.deliverNode("10.244.1.0/24")
		wantProblem("IPv6")
		g.deliverNode("10.244.1.0/24", "fd44:1::/64")
		if problems := g.Status().Problems; len(problems) > 0 {
			t.Errorf("problems: %v", problems)
		}
	})
}

// A table without an owner for it would drop clients of that port for ever.
func TestWhatTheTableSaysOfFrontendsThatAreNotOursIsRemovedAtTheStart(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		theirs := tcp("10.1.0.10", 30099)
		left := filter.Rules{
			Owned:      filter.NewSet(tcp("10.1.0.10", 30080)),
			Masquerade: all(tcp("10.1.0.10", 30080), theirs), Internal: filter.NewSet(theirs),
		}
		if err := filter.New(nft, filter.Options{}).Replace(t.Context(), left); err != nil {
			t.Fatal(err)
		}
		g := start(t, kernel, nft)
		g.serve(web("10.244.1.2:8080"))
		g.masquerades(all(tcp("10.1.0.10", 30080)))
		if rules := g.rules(); len(rules.Internal) > 0 || !rules.Owned.Has(tcp("10.1.0.10", 30080)) {
			t.Errorf("the table has %v", rules)
		}
	})
}

func TestAStartThatNftKeepsFromServingIsTriedAgainSoonAndLessOften(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		nft.SetFault(func(string) error { return errors.New("not allowed") })
		g := start(t, kernel, nft)
		g.serve(web("10.244.1.2:8080"))
		g.after(10 * auditRetry)
		if n := g.Counters().Passes; n > 15 {
			t.Errorf("%d passes in ten seconds", n)
		}
		nft.SetFault(nil)
		g.after(8 * auditRetry) // the pauses have doubled from half a second to eight
		g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1")
	})
}

// Nothing can end on an address that the node does not have, and the node itself is kept from whoever has it now.
func TestConnectionsOnAnAddressThatIsGivenUpAreNotWaitedFor(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft)
		g.addresses.set("10.1.0.10", "10.2.0.10")
		g.deliver(web("10.244.1.2:8080"))
		for _, addr := range []string{"10.1.0.10", "10.2.0.10"} {
			kernel.SetConnections(tcp(addr, 30080), netip.MustParseAddrPort("10.244.1.2:8080"), ipvs.Connections{Active: 1})
		}
		g.addresses.set("10.1.0.10")
		g.after(50 * time.Second)
		g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1", "tcp://10.2.0.10:30080 rr 10.244.1.2:8080*1") // its grace
		g.after(20 * time.Second)
		g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1")
	})
}

func TestNothingIsWrittenToNftablesWhenOnlyRealServersChange(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft)
		g.serve(local("10.244.2.2:8080")) // internal: the frontend has everything that our table can have
		before := nft.Writes()
		g.deliver(local("10.244.2.2:8080", "10.244.2.3:8080"))
		g.expect("tcp://10.1.0.10:30080 rr 10.244.2.2:8080*1 10.244.2.3:8080*1")
		if n := nft.Writes() - before; n != 0 {
			t.Errorf("%d transactions", n)
		}
	})
}
