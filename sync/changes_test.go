package sync

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kube-ipvs/kube-ipvs/filter/filtertest"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
)

// deliverChanged is a change of Services that began some time ago.
func (g *rig) deliverChanged(ago time.Duration, services ...Service) {
	g.source.deliver(func(u *Update) {
		u.Services, u.Triggers = append(u.Services, services...), Triggers{}
		for _, svc := range services {
			u.Triggers.Add(svc.ID, time.Now().Add(-ago))
		}
	})
	synctest.Wait()
}

// expectProgrammed compares how many changes were measured, and what they took together, to the second.
func (g *rig) expectProgrammed(when string, count int, took time.Duration) {
	g.t.Helper()
	m := scrape(g.t, g.Reconciler)
	have := time.Duration(m["kubeproxy_network_programming_duration_seconds_sum"] * float64(time.Second)).Round(time.Second)
	if n := m["kubeproxy_network_programming_duration_seconds_count"]; n != float64(count) || have != took {
		g.t.Errorf("%s: %v changes took %s, want %d and %s", when, n, have, count, took)
	}
}

// forgot requires that nothing is remembered of changes. The loop waits, so nobody else looks.
func (g *rig) forgot() {
	g.t.Helper()
	if len(g.unprogrammed) > 0 {
		g.t.Errorf("still remembered: %v", g.unprogrammed)
	}
}

func TestChangesAreMeasuredFromTheirTriggerToTheKernel(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft)
		g.serve(web("10.244.1.2:8080"))
		g.expectProgrammed("without a trigger", 0, 0)
		g.deliverChanged(2*time.Second, web("10.244.1.3:8080"), service("dns", 30053, "10.244.1.3:53"))
		g.expectProgrammed("two", 2, 4*time.Second)
		g.after(time.Hour)
		g.expectProgrammed("audits later", 2, 4*time.Second)
		g.forgot()
	})
}

func TestAChangeThatIsTriedAgainIsMeasuredWhenItSucceeds(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft)
		g.serve(web("10.244.1.2:8080"))
		nft.SetFault(filtertest.Refuse(tcp("10.1.0.10", 30081)))
		g.deliverChanged(time.Second, service("bad", 30081, "10.244.1.3:8080"), web("10.244.1.4:8080"))
		g.expectProgrammed("the good one", 1, time.Second)
		g.after(10 * time.Second)
		g.deliverChanged(0, service("bad", 30081, "10.244.1.4:8080"))
		g.expectProgrammed("while the bad one is refused", 1, time.Second)
		nft.SetFault(nil)
		g.after(30 * time.Second)
		m := scrape(t, g.Reconciler)
		if n, sum := m["kubeproxy_network_programming_duration_seconds_count"], m["kubeproxy_network_programming_duration_seconds_sum"]; n != 3 || sum < 13 {
			t.Errorf("%v changes took %v s together, want 3 of which one waited for 10 s", n, sum)
		}
		g.forgot()
	})
}

func TestAChangeBeforeTheKernelCanBeReadIsNotForgotten(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		nft.SetFault(func(string) error { return errors.New("no nft here") })
		g := start(t, kernel, nft)
		g.addresses.set("10.1.0.10")
		g.deliverChanged(0, web("10.244.1.2:8080"))
		g.after(10 * time.Second)
		g.expectProgrammed("meanwhile", 0, 0)
		nft.SetFault(nil)
		g.after(time.Minute)
		if n := scrape(t, g.Reconciler)["kubeproxy_network_programming_duration_seconds_count"]; n != 1 {
			t.Errorf("%v changes measured, want 1", n)
		}
	})
}

func TestAServiceThatAsksNothingOfThisNodeIsNotMeasured(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft)
		g.serve(web("10.244.1.2:8080"))
		younger := service("younger", 30080, "10.244.1.3:8080") // whose port is taken
		younger.Created = younger.Created.Add(time.Hour)
		elsewhere := service("elsewhere", 30082, "10.244.1.3:8080")
		elsewhere.Families = IPv6
		g.deliverChanged(time.Second, gone("web2"), younger, elsewhere)
		g.expectProgrammed("none of them", 0, 0)
		g.forgot()
	})
}

func TestWhatIsRememberedOfChangesIsBounded(t *testing.T) {
	id := ServiceID{Namespace: "default", Name: "web"}
	first := time.Unix(1000, 0)
	all := Triggers{}
	for i := range 100 {
		all.Add(id, first.Add(time.Duration(i)*time.Second))
	}
	merged := Triggers{}
	merged.Add(id, first.Add(-time.Second))
	merged.merge(all)
	if len(all[id]) != maxTriggers || len(merged[id]) != maxTriggers || !merged[id][1].Equal(first) {
		t.Errorf("%d and %d are remembered, %v first", len(all[id]), len(merged[id]), merged[id][:2])
	}
}

func TestANodeThatLeavesIsToldAtOnceAndServesOn(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft)
		g.serve(web("10.244.1.2:8080"))
		writes := g.writes()
		say := func(why string) {
			t.Helper()
			g.source.deliver(func(u *Update) { u.Node = &Node{Name: "node1", Ineligible: why} })
			synctest.Wait()
			if h := g.Health(time.Now()); h.Ineligible != why || !h.Ready || !h.Alive || h.Reason != "" || g.Status().Ineligible != why {
				t.Errorf("the Node says %q, the agent %+v", why, h)
			}
		}
		say("")
		say("it is being deleted")
		g.after(time.Hour)
		if h := g.Health(time.Now()); h.Ineligible == "" {
			t.Error("it is forgotten by the next pass")
		}
		say("")
		g.expect(onFirst)
		if n := g.writes() - writes; n != 0 {
			t.Errorf("%d writes", n)
		}
	})
}

func TestPortsWithoutALocalEndpointAreCounted(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft)
		local := func(name string, port uint16, endpoints ...string) Service {
			svc := service(name, port, endpoints...)
			svc.Ports[0].Policy = Local
			return svc
		}
		expect := func(when string, want float64) {
			t.Helper()
			if n := scrape(t, g.Reconciler)[`kubeproxy_sync_proxy_rules_no_local_endpoints_total{traffic_policy="external"}`]; n != want {
				t.Errorf("%s: %v ports, want %v", when, n, want)
			}
		}
		g.addresses.set("10.1.0.10", "10.2.0.10")
		g.deliver(web("10.244.9.2:8080"), local("a", 30001, "10.244.9.2:8080"), local("b", 30002, "10.244.9.2:8080"), local("c", 30003),
			local("d", 30004, "10.244.1.2:8080 local"))
		expect("one policy Cluster, two with endpoints elsewhere, one with none, one with one here", 2)
		g.deliver(local("a", 30001, "10.244.9.2:8080", "10.244.1.2:8080 local"))
		expect("one has got an endpoint here", 1)
		g.deliver(local("d", 30004, "10.244.9.2:8080"))
		expect("another has lost it", 2)
		g.deliver(gone("b"))
		expect("a third is gone", 1)
		g.deliver(gone("a"), gone("d"))
		expect("and all", 0)
	})
}
