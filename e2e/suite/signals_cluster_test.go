//go:build cluster

package suite_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"testing"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/nodes"
	"github.com/kube-ipvs/kube-ipvs/e2e/suite"
)

// Metrics of a change of endpoints.
const (
	programming    = "kubeproxy_network_programming_duration_seconds"
	changesTotal   = "kubeproxy_sync_proxy_rules_endpoint_changes_total"
	changesPending = "kubeproxy_sync_proxy_rules_endpoint_changes_pending"
)

// A Pod's condition has whole seconds: what is measured from it may be up to one second too much, and never too little.
func TestAChangeOfEndpointsIsCountedAndTimedUntilTheKernelHasIt(t *testing.T) {
	cases.Promise(t, func(c *suite.Case) {
		suite.Need[suite.Agents](c)
		here, there := c.Nodes()[0].Name, c.Nodes()[1].Name
		web := c.Service("web")
		stays, goes := c.Pod("web", here, "stays"), c.Pod("web", there, "goes")
		frontends := suite.Some(c.Frontends(web, here))
		c.ServedBy(frontends, stays.Name, goes.Name)

		before := metrics(c, here)
		c.Change(goes, func() { goes.Annotations = map[string]string{nodes.ReadyAnnotation: "false"} })
		c.ServedBy(frontends, stays.Name)
		before = timed(c, "a Pod that is no longer ready", here, before)
		comes := c.Pod("web", there, "comes")
		c.ServedBy(frontends, stays.Name, comes.Name)
		timed(c, "a Pod that comes", here, before)
	})
}

// timed waits until the metrics of a node tell of a change of the endpoints of one Service, in both families.
func timed(c *suite.Case, what, node string, before map[string]float64) (after map[string]float64) {
	c.Helper()
	const families = 2
	c.Eventually("metrics of "+what, func() error {
		after = metrics(c, node)
		if n := after[programming+"_count"] - before[programming+"_count"]; n < families {
			return fmt.Errorf("%v were timed", n)
		}
		if n := after[changesTotal] - before[changesTotal]; n < families {
			return fmt.Errorf("%v changes were counted", n)
		}
		if n := after[changesPending]; n != 0 {
			return fmt.Errorf("%v are pending", n)
		}
		return nil
	})
	rise := func(name string) float64 { return after[programming+name] - before[programming+name] }
	n := rise("_count")
	c.Logf("%s: %v timed, %.3f s on average, %v changes of EndpointSlices", what, n, rise("_sum")/n, after[changesTotal]-before[changesTotal])
	if early := rise(`_bucket{le="0"}`); early != 0 {
		c.Errorf("%s: %v of %v were programmed before they happened", what, early, n)
	}
	if soon := rise(`_bucket{le="5"}`); soon != n {
		c.Errorf("%s: %v of %v took more than 5 s", what, n-soon, n)
	}
	return after
}

// metrics are those of the agent on a node. One that is asked for here and missing is no 0.
func metrics(c *suite.Case, node string) map[string]float64 {
	c.Helper()
	all, err := suite.Need[suite.Agents](c).AgentMetrics(c.Context(), node)
	c.Must(err)
	for _, name := range []string{
		programming + "_count", programming + "_sum", programming + `_bucket{le="0"}`, programming + `_bucket{le="5"}`,
		changesTotal, changesPending,
	} {
		if _, ok := all[name]; !ok {
			c.Fatalf("no metric %s on %s", name, node)
		}
	}
	return all
}

// Upstream: KEP-3836.
func TestANodeThatIsAboutToGoSaysSoToLoadBalancersAloneAndServesOn(t *testing.T) {
	cases.Promise(t, func(c *suite.Case) {
		goes, stays := c.Nodes()[0], c.Nodes()[1]
		web := c.Service("web")
		pods := c.PodOnEach("web")
		frontends := suite.Some(c.Frontends(web, goes.Name))
		c.ServedBy(frontends, pods...)
		healthy(c, goes, http.StatusOK)

		untaint := c.Taint(goes.Name, "ToBeDeletedByClusterAutoscaler")
		healthy(c, goes, http.StatusServiceUnavailable)
		healthy(c, stays, http.StatusOK)
		c.ServedBy(frontends, pods...)
		untaint()
		healthy(c, goes, http.StatusOK)
	})
}

// healthy waits until load balancers have this answer of a node, which those who look after the agent never notice.
func healthy(c *suite.Case, n suite.Node, want int) {
	c.Helper()
	i := slices.IndexFunc(n.Chosen, netip.Addr.Is4) // the default --healthz-bind-address
	if i < 0 {
		c.Fatalf("%s has no IPv4 address", n.Name)
	}
	ask := func(path string) (status int, eligible *bool, body string) {
		c.Helper()
		r, err := c.Get(c.Context(), suite.Get{From: suite.Outside, URL: fmt.Sprintf("http://%s:10356%s", n.Chosen[i], path)})
		c.Must(err)
		var answer struct{ NodeEligible *bool }
		c.Must(json.Unmarshal([]byte(r.Body), &answer))
		return r.Status, answer.NodeEligible, r.Body
	}
	c.Eventually("/healthz of "+n.Name, func() error {
		status, eligible, body := ask("/healthz")
		if status != want || eligible == nil || *eligible != (want == http.StatusOK) {
			return fmt.Errorf("%d %s, want %d", status, body, want)
		}
		return nil
	})
	for _, path := range []string{"/readyz", "/livez"} {
		if status, _, body := ask(path); status != http.StatusOK {
			c.Errorf("%s of %s: %d %s", path, n.Name, status, body)
		}
	}
}
