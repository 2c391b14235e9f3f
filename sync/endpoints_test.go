package sync

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func TestEndpointsAreChosenAsKubeProxyDoes(t *testing.T) {
	for _, c := range []struct {
		name       string
		policy     TrafficPolicy
		endpoints  []string
		use, quiet string
	}{
		{"all ready ones, wherever they are", Cluster, []string{"10.0.0.1:80 local", "10.0.0.2:80"}, "10.0.0.1:80 10.0.0.2:80", ""},
		{"what is not ready gets nothing", Cluster, []string{"10.0.0.1:80", "10.0.0.2:80 dead"}, "10.0.0.1:80", ""},
		{"terminating ones are quiet beside ready ones", Cluster, []string{"10.0.0.1:80", "10.0.0.2:80 terminating"}, "10.0.0.1:80", "10.0.0.2:80"},
		{"terminating ones serve when none is ready", Cluster, []string{"10.0.0.1:80 terminating", "10.0.0.2:80 terminating"}, "10.0.0.1:80 10.0.0.2:80", ""},
		{"terminating ones that fail are never used", Cluster, []string{"10.0.0.1:80 terminating dead"}, "", ""},
		{"local policy leaves remote ones out", Local, []string{"10.0.0.1:80 local", "10.0.0.2:80"}, "10.0.0.1:80", ""},
		{"local policy prefers a terminating local one to a ready remote one", Local, []string{"10.0.0.1:80 local terminating", "10.0.0.2:80"}, "10.0.0.1:80", ""},
		{"local policy without a local one", Local, []string{"10.0.0.2:80", "10.0.0.3:80 terminating"}, "10.0.0.2:80", "10.0.0.3:80"},
		{"local policy with a local one that is not ready", Local, []string{"10.0.0.1:80 local dead", "10.0.0.2:80"}, "10.0.0.2:80", ""},
		{"local policy without a local one looks at hints", Local, []string{"10.0.0.1:80 zone+", "10.0.0.2:80 zone-"}, "10.0.0.1:80", ""},
		{"local policy with terminating ones elsewhere alone", Local, []string{"10.0.0.2:80 terminating"}, "10.0.0.2:80", ""},
		{"local policy without any that could be used", Local, []string{"10.0.0.1:80 local dead", "10.0.0.2:80 dead"}, "", ""},
		{"hints for the node", Cluster, []string{"10.0.0.1:80 node+ zone+", "10.0.0.2:80 node- zone+", "10.0.0.3:80 node- zone-"}, "10.0.0.1:80", ""},
		{"hints for the zone where none names the node", Cluster, []string{"10.0.0.1:80 node- zone+", "10.0.0.2:80 node- zone-"}, "10.0.0.1:80", ""},
		{"hints for the zone alone", Cluster, []string{"10.0.0.1:80 zone+", "10.0.0.2:80 zone-"}, "10.0.0.1:80", ""},
		{"one missing node hint switches to the zone", Cluster, []string{"10.0.0.1:80 node+ zone+", "10.0.0.2:80 zone+", "10.0.0.3:80 zone-"}, "10.0.0.1:80 10.0.0.2:80", ""},
		{"one missing zone hint switches hints off", Cluster, []string{"10.0.0.1:80 zone+", "10.0.0.2:80"}, "10.0.0.1:80 10.0.0.2:80", ""},
		{"no hint for this zone switches hints off", Cluster, []string{"10.0.0.1:80 zone-", "10.0.0.2:80 zone-"}, "10.0.0.1:80 10.0.0.2:80", ""},
		{"hints of endpoints that are not ready do not count", Cluster, []string{"10.0.0.1:80 zone+", "10.0.0.2:80 dead", "10.0.0.3:80 zone-", "10.0.0.4:80 terminating"}, "10.0.0.1:80", "10.0.0.4:80"},
		{"terminating ones serve whatever their hints", Cluster, []string{"10.0.0.1:80 terminating zone-", "10.0.0.2:80 terminating zone+"}, "10.0.0.1:80 10.0.0.2:80", ""},
		{"local policy looks at no hints", Local, []string{"10.0.0.1:80 local zone-", "10.0.0.2:80 zone+"}, "10.0.0.1:80", ""},
		{"hints of the other family do not count", Cluster, []string{"10.0.0.1:80 zone+", "10.0.0.2:80 zone-", "[fd00::1]:80"}, "10.0.0.1:80", ""},
		{"the other family is left out", Cluster, []string{"10.0.0.1:80", "[fd00::1]:80"}, "10.0.0.1:80", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			port := web(c.endpoints...).Ports[0]
			port.Policy = c.policy
			got := choose(port, netip.MustParseAddr("10.1.0.10"))
			if use, quiet := list(got.use), list(got.quiet); use != c.use || quiet != c.quiet {
				t.Errorf("uses %q, quiet %q, want %q and %q", use, quiet, c.use, c.quiet)
			}
			usesRemote := slices.ContainsFunc(got.use, func(e Endpoint) bool { return !e.Local })
			if want := c.policy == Local && usesRemote; got.internal != want {
				t.Errorf("internal: %v, want %v", got.internal, want)
			}
		})
	}
}

func list(endpoints []Endpoint) string {
	var texts []string
	for _, e := range endpoints {
		texts = append(texts, e.Addr.String())
	}
	return strings.Join(texts, " ")
}
