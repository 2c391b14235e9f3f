package report

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/kube-ipvs/kube-ipvs/nodeaddr"
	"github.com/kube-ipvs/kube-ipvs/sync"
)

func TestANodeIsWellWhereNobodyHasToDoAnything(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Status)
		want   bool
	}{
		"all is well":           {func(*Status) {}, true},
		"not ready":             {func(s *Status) { s.Health.Ready = false }, false},
		"a Service not served":  {func(s *Status) { s.Totals.NotServed++ }, false},
		"one without endpoints": {func(s *Status) { s.Totals.NoEndpoints++ }, true},
		"half an answer":        {func(s *Status) { s.Incomplete = "a pass takes long" }, false},
		"a problem":             {func(s *Status) { s.Problems = []Problem{{}} }, false},
		"it is about to go":     {func(s *Status) { s.Health.Ineligible = "the Node is being deleted" }, true},
	} {
		s := Status{Health: Health{Ready: true, Alive: true}, Totals: Totals{Services: 2, Served: 2}}
		c.change(&s)
		if got := s.Well(); got != c.want {
			t.Errorf("%s: it is well: %v", name, got)
		}
	}
}

func TestHealthIsToldInTheFirstLines(t *testing.T) {
	at := noon.Add(-5 * time.Minute)
	for _, c := range []struct {
		health Health
		want   string
	}{
		{Health{Ready: true, Alive: true, Synced: &at}, "on node node1: well, synced 5 min ago\n"},
		{Health{Alive: true, Reason: "nft is not installed"}, "on node node1: not ready\n  because nft is not installed\n"},
		{Health{Reason: "the pass has not ended"}, "on node node1: stuck\n  because the pass has not ended\n"},
		{Health{Ready: true, Alive: true, Ineligible: "it is being deleted"}, "on node node1: well\n  load balancers are told to leave this node alone: it is being deleted\n"},
	} {
		if text, _ := texts(t, Status{Agent: true, Node: "node1", Time: noon, Health: c.health}); !strings.Contains(text, c.want) || !strings.Contains(text, "serves on   no address") {
			t.Errorf("%+v is printed as\n%s\nwant %s", c.health, text, c.want)
		}
	}
}

func TestAgesAreInTheUnitThatFits(t *testing.T) {
	for d, want := range map[time.Duration]string{
		999 * time.Millisecond: "just now", 119 * time.Second: "1m59s ago", 2 * time.Minute: "2 min ago", 119 * time.Minute: "119 min ago",
		2 * time.Hour: "2 h ago", 47 * time.Hour: "47 h ago", 48 * time.Hour: "2 days ago", 100 * time.Hour: "4 days ago",
	} {
		if got := age(noon.Add(d), noon); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
}

// Beside kube-proxy in IPVS mode there are thousands of addresses of Services, and every host has loopback.
func TestAddressesThatNobodyMeansAreNotListed(t *testing.T) {
	o := overview(node())
	for iface, addr := range map[string]string{"lo": "127.0.0.1", "eth0": "fe80::1", "kube-ipvs0": "10.96.0.10"} {
		o.Rejected = append(o.Rejected, nodeaddr.Rejected{Address: nodeaddr.Address{Addr: netip.MustParseAddr(addr), Interface: iface}, Reason: "x"})
	}
	if s := NewStatus("node1", "dev", "a test", o); len(s.Addresses) != 3 {
		t.Errorf("listed are %+v", s.Addresses)
	}
}

func TestAServiceIsInPartWhatItsPortsAreNotAll(t *testing.T) {
	for _, c := range []struct {
		ports []State
		want  State
	}{
		{nil, NotServed},
		{[]State{Served, Served}, Served},
		{[]State{NoEndpoints, NoEndpoints}, NoEndpoints},
		{[]State{Served, NotServed}, Partly},
		{[]State{NoEndpoints, Served}, Partly},
	} {
		var ports []PortStatus
		for _, s := range c.ports {
			ports = append(ports, PortStatus{State: s})
		}
		if got := together(ports); got != c.want {
			t.Errorf("%q together are %q, want %q", c.ports, got, c.want)
		}
	}
}

// A Service with an address family that has endpoints, and one that has none, refuses the clients of one only.
func TestAPortThatRefusesInOneFamilyIsServedInPart(t *testing.T) {
	s := node(func(svc *sync.Service) { svc.Families = sync.IPv4 | sync.IPv6 })
	s.SetPlaces(nodeaddr.Places([]netip.Addr{onA, netip.MustParseAddr("fd01::10")}, nil, nil, nil))
	s.Resolve()
	if p := NewStatus("node1", "dev", "a test", overview(s)).Services[0].Ports[0]; p.State != Partly || p.Reason == "" || len(p.Addresses) != 2 {
		t.Errorf("it is %+v", p)
	}
}

func TestConflictsAreBetweenServices(t *testing.T) {
	s := Status{Problems: []Problem{{Reason: string(sync.Conflict)}, {Reason: string(sync.PortInUse)}, {Reason: string(sync.Invalid)}}}
	if n := newTotals(s, overview(node())).Conflicts; n != 1 {
		t.Errorf("%d conflicts, want 1", n)
	}
}

// What to do is said once for each kind, however many problems of it there are; long lists are cut, and say so.
func TestProblemsOfOneKindHaveOneAdvice(t *testing.T) {
	var problems []Problem
	for range shownItems + 3 {
		problems = append(problems, Problem{Object: "Service shop/web", Reason: string(sync.Invalid), Message: "m", Advice: "correct it"})
	}
	table, wide := texts(t, Status{Agent: true, Problems: problems})
	if n := strings.Count(table, "correct it"); n != 1 {
		t.Errorf("%d times:\n%s", n, table)
	}
	if n := strings.Count(table, ": m"); n != shownItems || !strings.Contains(table, "and 3 more (-o wide shows all)") {
		t.Errorf("%d of %d problems:\n%s", n, len(problems), table)
	}
	if n := strings.Count(wide, ": m"); n != len(problems) || strings.Contains(wide, "more (") {
		t.Errorf("wide has %d of %d problems", n, len(problems))
	}
}
