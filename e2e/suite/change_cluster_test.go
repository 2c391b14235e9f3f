//go:build cluster

package suite_test

import (
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/kube-ipvs/kube-ipvs/e2e/suite"
)

func TestAServiceFollowsItsTypeItsNodePortAndItsEnd(t *testing.T) {
	cases.Promise(t, func(c *suite.Case) {
		web := c.Service("web")
		pods := c.PodOnEach("web")
		first := suite.Some(c.Frontends(web))
		c.ServedBy(first, pods...)

		c.Change(web, func() {
			web.Spec.Type = corev1.ServiceTypeClusterIP
			for i := range web.Spec.Ports {
				web.Spec.Ports[i].NodePort = 0
			}
		})
		c.Silent(first)
		c.Change(web, func() { web.Spec.Type = corev1.ServiceTypeNodePort })
		second := suite.Some(c.Frontends(web))
		c.ServedBy(second, pods...)

		free := c.Service("free") // a port that nobody else has, once it is gone
		port := int32(suite.NodePort(free, suite.TCPPort))
		c.Delete(free)
		c.Change(web, func() { web.Spec.Ports[0].NodePort = port })
		third := suite.Over(suite.TCP, suite.Some(c.Frontends(web)))
		c.ServedBy(third, pods...)
		c.Silent(suite.Over(suite.TCP, second))

		c.Delete(web)
		c.Silent(third)
		again := c.Service("web", func(s *corev1.Service) { s.Spec.Ports[0].NodePort = port })
		c.ServedBy(suite.Some(c.Frontends(again)), pods...)
	})
}

func TestAServiceIsHandedToAnotherProxyAndBack(t *testing.T) {
	cases.Promise(t, func(c *suite.Case) {
		web := c.Service("web")
		pods := c.PodOnEach("web")
		frontends := suite.Some(c.Frontends(web))
		c.ServedBy(frontends, pods...)
		c.Change(web, func() { web.Labels[proxyName] = "somebody-else" })
		c.Silent(frontends)
		c.Change(web, func() { delete(web.Labels, proxyName) })
		c.ServedBy(frontends, pods...)
	})
}

const proxyName = "service.kubernetes.io/service-proxy-name"

func TestARollingUpdateLosesNoRequest(t *testing.T) {
	cases.Promise(t, func(c *suite.Case) {
		web := c.Service("web")
		d := c.Deployment("web", 3)
		frontends := suite.Over(suite.TCP, suite.Some(c.Frontends(web)))
		for _, f := range frontends {
			c.Eventually(f.String(), func() error { return c.Spreads(f, c.PodsOf("web")...) })
		}
		load := c.Load(frontends...)
		c.Answered(load, 20)
		c.Change(d, func() { d.Spec.Template.Annotations = map[string]string{"version": "2"} })
		c.Rolled(d)
		c.Answered(load, 20)
		c.Unharmed(load)
	})
}

func TestAnAddressIsServedWhileANodeHasIt(t *testing.T) {
	cases.Promise(t, func(c *suite.Case) {
		network := suite.Need[suite.Addresses](c)
		node := c.Nodes()[0].Name
		web := c.Service("web")
		pods := c.PodOnEach("web")
		c.ServedBy(suite.Some(c.Frontends(web)), pods...)
		for _, a := range network.FreeAddresses(node) {
			f := suite.Frontend{Node: node, Protocol: suite.TCP, At: netip.AddrPortFrom(a, suite.NodePort(web, suite.TCPPort))}
			c.Must(network.AddAddress(c.Context(), node, a))
			remove := c.Afterwards(func() error { return network.RemoveAddress(c.Context(), node, a) })
			c.ServedBy([]suite.Frontend{f}, pods...)
			remove()
			c.Silent([]suite.Frontend{f})
		}
		c.ServedBy(suite.Some(c.Frontends(web)), pods...)
	})
}
