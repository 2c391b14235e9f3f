package sync

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kube-ipvs/kube-ipvs/filter/filtertest"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/host"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
)

// allOf is all that an overview tells, one thing a line.
func allOf(o *Overview, kernel ipvs.Table) string {
	var b strings.Builder
	fmt.Fprintf(&b, "ports %+v\nchecks %+v\nsettings %+v\nuse %+v\n", o.View(), o.ViewChecks(), o.ViewSettings(), o.ViewPorts().Ports)
	fmt.Fprintf(&b, "grace %v\nmasquerade %v\nowned %v\naddresses %v\n", o.Grace, o.Rules.Masquerade, o.Rules.Owned, o.Addresses())
	for _, p := range o.Problems() {
		fmt.Fprintf(&b, "problem %+v\n", p)
	}
	for _, id := range o.ServiceIDs() {
		fmt.Fprintf(&b, "%s has %+v\n", id, o.ProblemsOf(id))
	}
	for _, key := range o.OurKeys() {
		want, wanted := o.Want(key)
		again, err := o.Stuck(key)
		fmt.Fprintf(&b, "%s %t %+v claimed by %+v, departing %v, stuck %v %v\n", key, wanted, want, o.Claimants(key), o.Departing(key), again, err)
	}
	have, next := o.Next(kernel, o.OurKeys())
	fmt.Fprintf(&b, "pending %s\n", ipvs.Diff(have, next))
	return b.String()
}

// The race detector finds what is read while the loop writes to it; this finds what the loop changes afterwards.
func TestNothingThatAnOverviewTellsChangesAfterIt(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		p, refuses := &programs{}, ipvsfake.Fault{Verb: ipvs.AddReal, Real: netip.MustParseAddrPort("10.244.1.9:8080"), Err: syscall.ENOMEM}
		g := start(t, kernel, nft, func(c *Config) {
			p.skip(c)
			c.Kernel = ipvsfake.Faulty(c.Kernel, ipvsfake.Faults{Once: []ipvsfake.Fault{refuses}})
		})
		health := service("health", 30082, "10.244.1.4:80 local")
		health.Ports[0].Policy, health.HealthCheckNodePort = Local, 32000
		late := service("late", 30080, "10.244.1.3:80")
		late.Created = late.Created.Add(time.Hour)
		taken := service("taken", 30083, "10.244.1.5:80")
		listens := Listener{Listener: host.Listener{Addr: netip.IPv4Unspecified(), Port: 30083, Protocol: frontend.TCP}, Process: "nginx"}
		p.listen(listens)
		rises := service("rises", 30084, "10.244.1.6:80")
		rises.Ports[0].Scheduler, rises.Ports[0].SlowStart = "wrr", 100*time.Second
		g.serve(web("10.244.1.1:8080", "10.244.1.2:8080"), health, late, taken, rises, service("stuck", 30085, "10.244.1.8:8080"))
		g.addresses.set("10.1.0.10", "10.2.0.10")
		g.after(time.Minute)
		key, leaves := tcp("10.1.0.10", 30080), netip.MustParseAddrPort("10.244.1.2:8080")
		kernel.SetConnections(key, leaves, ipvs.Connections{Active: 1})
		rises = service("rises", 30084, "10.244.1.6:80", "10.244.1.7:80")
		rises.Ports[0].Scheduler, rises.Ports[0].SlowStart = "wrr", 100*time.Second
		g.deliver(web("10.244.1.1:8080"), rises, service("stuck", 30085, "10.244.1.8:8080", "10.244.1.9:8080"))
		g.addresses.set("10.1.0.10")
		g.after(100 * time.Millisecond)

		o, table := g.overview(), kernel.Table()
		before := allOf(o, table)
		for _, want := range []string{"late", "nginx", "10.2.0.10", "32000", "cannot allocate memory"} {
			if !strings.Contains(before, want) {
				t.Errorf("nothing is told of %s in\n%s", want, before)
			}
		}
		if len(o.leaving[key]) != 1 || len(o.rising) == 0 || len(o.Grace) != 1 {
			t.Errorf("it is without what is on its way: %v, %v, %v", o.leaving, o.rising, o.Grace)
		}

		p.listen()
		p.fail(errors.New("nobody knows"))
		kernel.SetConnections(key, leaves, ipvs.Connections{})
		g.deliver(gone("late"), gone("health"), gone("rises"), web("10.244.9.1:8080"), service("late2", 30080, "10.244.1.3:80"), service("stuck", 30085))
		g.after(10 * time.Minute)
		g.deliver(gone("web"), gone("stuck"), gone("taken"))
		g.after(10 * time.Minute)
		if diff := cmp.Diff(before, allOf(o, table)); diff != "" {
			t.Errorf("it changed (-before +after):\n%s", diff)
		}
	})
}
