//go:build cluster

package suite_test

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/kube-ipvs/kube-ipvs/e2e/suite"
)

func TestPolicyLocalKeepsToTheNodeAndTheClientsAddress(t *testing.T) {
	cases.Promise(t, func(c *suite.Case) {
		here, there := c.Nodes()[0].Name, c.Nodes()[1].Name
		web := c.Service("web", suite.Local)
		pod := c.Pod("web", here, "web")
		c.ServedBy(c.Frontends(web, here), pod.Name)
		for _, f := range c.Frontends(web, here) {
			tally := c.AskAt(f, 1)
			if ours := slices.ContainsFunc(c.Clients(), func(a netip.Addr) bool { return tally.Clients[a] == 1 }); !ours {
				c.Errorf("%s: the pod sees another client: %v", f, tally)
			}
		}
		lonely := suite.Some(c.Frontends(web, there))
		for _, f := range lonely { // so the node knows the Service
			c.Eventually(f.String()+" from the node itself", func() error {
				if tally := c.AskFrom(there, f, 2); tally.Pods[pod.Name] != 2 {
					return fmt.Errorf("%v", tally)
				}
				return nil
			})
		}
		c.Silent(lonely)
	})
}

func TestPolicyLocalFallsBackToLocalPodsThatEnd(t *testing.T) {
	cases.Promise(t, func(c *suite.Case) {
		here, there := c.Nodes()[0].Name, c.Nodes()[1].Name
		web := c.Service("web", suite.Local)
		ends := c.Pod("web", here, "ends", suite.Lingering)
		stays := c.Pod("web", there, "stays")
		c.ServedBy(suite.Some(c.Frontends(web, here)), ends.Name)
		anywhere := c.Service("anywhere", func(s *corev1.Service) { s.Spec.Selector = web.Spec.Selector })
		c.ServedBy(suite.Some(c.Frontends(anywhere, here)), ends.Name, stays.Name)
		c.Delete(ends)
		c.ServedBy(suite.Some(c.Frontends(anywhere, here)), stays.Name) // so the node knows that the pod ends
		c.ServedBy(suite.Some(c.Frontends(web, there)), stays.Name)
		c.ServedBy(suite.Some(c.Frontends(web, here)), ends.Name)
	})
}

func TestLoadBalancersHearWhichNodesHavePods(t *testing.T) {
	cases.Promise(t, func(c *suite.Case) {
		here, there := c.Nodes()[0], c.Nodes()[1]
		web := c.Service("web", suite.LoadBalancer, suite.Local)
		c.Pod("web", here.Name, "web")
		if web.Spec.HealthCheckNodePort == 0 {
			c.Fatal("no healthCheckNodePort")
		}
		status := func(a netip.Addr, want int) error {
			at := netip.AddrPortFrom(a, uint16(web.Spec.HealthCheckNodePort))
			r, err := c.Get(c.Context(), suite.Get{From: suite.Outside, URL: "http://" + at.String() + "/"})
			if err == nil && r.Status != want {
				err = fmt.Errorf("%s: %d, want %d: %s", at, r.Status, want, r.Body)
			}
			return err
		}
		for _, a := range here.Chosen {
			c.Eventually("health", func() error { return status(a, http.StatusOK) })
		}
		for _, a := range there.Chosen {
			c.Eventually("health", func() error { return status(a, http.StatusServiceUnavailable) })
		}
		c.ServedBy(suite.Some(c.Frontends(web, here.Name)), "web")
	})
}

func TestALoadBalancerServiceServesTheNodePortsThatItHas(t *testing.T) {
	cases.Promise(t, func(c *suite.Case) {
		web := c.Service("web", suite.LoadBalancer, func(s *corev1.Service) { s.Spec.AllocateLoadBalancerNodePorts = new(false) })
		pods := c.PodOnEach("web")
		if len(c.Frontends(web)) != 0 {
			c.Fatalf("it has node ports: %+v", web.Spec.Ports)
		}
		c.Change(web, func() { web.Spec.AllocateLoadBalancerNodePorts = new(true) })
		frontends := suite.Some(c.Frontends(web))
		c.ServedBy(frontends, pods...)
		c.Change(web, func() {
			web.Spec.AllocateLoadBalancerNodePorts = new(false)
			for i := range web.Spec.Ports {
				web.Spec.Ports[i].NodePort = 0
			}
		})
		c.Silent(frontends)
	})
}
