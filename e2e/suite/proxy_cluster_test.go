//go:build cluster

package suite_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/kube-ipvs/kube-ipvs/e2e/suite"
)

func TestBesideKubeProxyClusterIPsAreItsAndNodePortsOursAndAServiceIsHandedOverAndBack(t *testing.T) {
	cases.Promise(t, func(c *suite.Case) {
		startProxies(c)
		web := c.Service("web")
		pods := c.PodOnEach("web")
		frontends := suite.Some(c.Frontends(web))
		served := func() {
			c.Helper()
			c.ServedBy(frontends, pods...)
			for _, f := range clusterIPs(web) {
				for _, pod := range pods {
					c.Eventually(f.String()+" from "+pod, func() error { return answers(c, c.Namespace+"/"+pod, f, 4) })
				}
			}
			inIPVS(c, frontends, clusterIPs(web))
		}
		served()
		c.Change(web, func() { web.Labels[proxyName] = "somebody-else" })
		c.Silent(frontends)
		for _, f := range clusterIPs(web) {
			c.Eventually(f.String()+" silent", func() error {
				if tally := c.AskFrom(c.Namespace+"/"+pods[0], f, 1); tally.Answers() > 0 {
					return fmt.Errorf("answered by %v", tally)
				}
				return nil
			})
		}
		c.Change(web, func() { delete(web.Labels, proxyName) })
		served()
	})
}

func startProxies(c *suite.Case) {
	c.Helper()
	proxies := suite.Need[suite.Proxies](c)
	c.Must(proxies.StartProxies(c.Context()))
	c.Cleanup(func() {
		if err := proxies.StopProxies(c.Context()); err != nil {
			c.Error(err)
		}
	})
}

// clusterIPs are those of a Service, over TCP.
func clusterIPs(s *corev1.Service) []suite.Frontend {
	var all []suite.Frontend
	for _, ip := range s.Spec.ClusterIPs {
		all = append(all, suite.Frontend{Node: "the cluster", Protocol: suite.TCP, At: netip.AddrPortFrom(netip.MustParseAddr(ip), 80)})
	}
	return all
}

// answers returns nil if n requests have n answers.
func answers(c *suite.Case, from string, f suite.Frontend, n int) error {
	if tally := c.AskFrom(from, f, n); tally.Answers() != n {
		return fmt.Errorf("%s from %s: %v", f, from, tally)
	}
	return nil
}

// inIPVS requires that frontends are virtual servers of their node, and that others are not: kube-proxy has them elsewhere.
func inIPVS(c *suite.Case, frontends, others []suite.Frontend) {
	c.Helper()
	for _, f := range frontends {
		table, err := suite.Need[suite.Shell](c).Run(c.Context(), f.Node, "", "ipvsadm", "-Sn")
		c.Must(err)
		if want := fmt.Sprintf("-A -%c %s ", f.Protocol[0], f.At); !strings.Contains(table, want) {
			c.Errorf("no %q on %s:\n%s", want, f.Node, table)
		}
		for _, other := range others {
			if strings.Contains(table, " "+other.At.String()+" ") {
				c.Errorf("%s is in IPVS on %s:\n%s", other, f.Node, table)
			}
		}
	}
}
