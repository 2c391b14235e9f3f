package sync

import (
	"net/netip"
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
		{"local policy without a local one has none", Local, []string{"10.0.0.2:80"}, "", ""},
		{"the other family is left out", Cluster, []string{"10.0.0.1:80", "[fd00::1]:80"}, "10.0.0.1:80", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			port := web(c.endpoints...).Ports[0]
			port.Policy = c.policy
			got := choose(port, netip.MustParseAddr("10.1.0.10"))
			if use, quiet := list(got.use), list(got.quiet); use != c.use || quiet != c.quiet {
				t.Errorf("uses %q, quiet %q, want %q and %q", use, quiet, c.use, c.quiet)
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
