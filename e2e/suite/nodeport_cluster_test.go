//go:build cluster

package suite_test

import (
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/nodes"
	"github.com/kube-ipvs/kube-ipvs/e2e/suite"
)

func TestANodePortReachesAllPodsEvenlyOnEveryChosenAddressAndOnNoOther(t *testing.T) {
	cases.Promise(t, func(c *suite.Case) {
		web := c.Service("web")
		pods := c.PodOnEach("web")
		c.ServedBy(c.Frontends(web), pods...)
		if _, partial := c.Provider.(suite.Partial); !partial { // whose nodes may have no other addresses
			c.Refused(c.Unchosen(web))
		}
	})
}

func TestNodesAndPodsReachNodePortsToo(t *testing.T) {
	cases.Promise(t, func(c *suite.Case) {
		web := c.Service("web")
		pods := c.PodOnEach("web")
		frontends := suite.Some(c.Frontends(web))
		c.ServedBy(frontends, pods...)
		for _, from := range []string{c.Nodes()[0].Name, c.Namespace + "/" + pods[0]} {
			for _, f := range frontends {
				if tally := c.AskFrom(from, f, 4); tally.Answers() != 4 || len(tally.Pods) != 2 {
					c.Errorf("%s from %s: %v", f, from, tally)
				}
			}
		}
	})
}

func TestAPodWithHostNetworkIsReached(t *testing.T) {
	cases.Promise(t, func(c *suite.Case) {
		const port = 9090
		web := c.Service("web", func(s *corev1.Service) {
			for i := range s.Spec.Ports {
				s.Spec.Ports[i].TargetPort.IntVal = port
			}
		})
		pod := c.Pod("web", c.Nodes()[1].Name, "host", func(p *corev1.Pod) {
			p.Spec.HostNetwork = true
			p.Spec.Containers[0].Ports[0] = corev1.ContainerPort{ContainerPort: port, HostPort: port}
		})
		c.ServedBy(suite.Some(c.Frontends(web)), pod.Name)
	})
}

func TestAPodServesWhileItIsReady(t *testing.T) {
	cases.Promise(t, func(c *suite.Case) {
		web := c.Service("web")
		stays := c.Pod("web", c.Nodes()[0].Name, "stays")
		fails := c.Pod("web", c.Nodes()[1].Name, "fails")
		frontends := suite.Some(c.Frontends(web))
		c.ServedBy(frontends, stays.Name, fails.Name)
		ready := func(is string) {
			c.Change(fails, func() { fails.Annotations = map[string]string{nodes.ReadyAnnotation: is} })
		}
		ready("false")
		c.ServedBy(frontends, stays.Name)
		ready("true")
		c.ServedBy(frontends, stays.Name, fails.Name)
	})
}

func TestAPodThatEndsKeepsItsConnectionsAndGetsNoNewOnesUnlessAllEnd(t *testing.T) {
	cases.Promise(t, func(c *suite.Case) {
		web := c.Service("web")
		first := c.Pod("web", c.Nodes()[0].Name, "first", suite.Lingering)
		frontends := suite.Some(c.Frontends(web))
		c.ServedBy(frontends, first.Name)
		held := c.Connect(suite.Over(suite.TCP, frontends)[0])
		if got := held.Ask(); got != first.Name {
			c.Fatalf("%s answers, want %s", got, first.Name)
		}
		second := c.Pod("web", c.Nodes()[1].Name, "second", suite.Lingering)
		c.ServedBy(frontends, first.Name, second.Name)
		c.Delete(first)
		c.ServedBy(frontends, second.Name)
		if got := held.Ask(); got != first.Name {
			c.Errorf("the connection moved to %s", got)
		}
		c.Delete(second)
		c.ServedBy(frontends, first.Name, second.Name)
		if got := held.Ask(); got != first.Name {
			c.Errorf("the connection moved to %s", got)
		}
	})
}

func TestAClientStaysWithOnePodWhereAffinityIsAsked(t *testing.T) {
	cases.Promise(t, func(c *suite.Case) {
		web := c.Service("web", func(s *corev1.Service) { s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP })
		pods := c.PodOnEach("web")
		sticks := func(f suite.Frontend) error {
			tally := c.AskAt(f, 6)
			if tally.Answers() != 6 || len(tally.Pods) != 1 {
				return fmt.Errorf("%s: %v, want one pod", f, tally)
			}
			return nil
		}
		for _, f := range suite.Some(c.Frontends(web)) {
			c.Eventually(f.String(), func() error { return sticks(f) })
		}
		c.Change(web, func() { web.Spec.SessionAffinity = corev1.ServiceAffinityNone; web.Spec.SessionAffinityConfig = nil })
		overTCP := suite.Over(suite.TCP, suite.Some(c.Frontends(web)))
		c.ServedBy(overTCP, pods...)
		c.Change(web, func() { web.Spec.SessionAffinity = corev1.ServiceAffinityClientIP })
		for _, f := range overTCP { // which has both pods by now
			c.Eventually(f.String(), func() error { return sticks(f) })
		}
	})
}

func TestAServiceWithAProblemGetsAnEvent(t *testing.T) {
	cases.Promise(t, func(c *suite.Case) {
		web := c.Service("web", func(s *corev1.Service) {
			s.Annotations = map[string]string{"kube-ipvs.io/scheduler": "nonsense"}
		})
		e := c.Event(web, "InvalidService")
		c.Log(e.Message)
		ofThisCluster := func(n suite.Node) bool { return n.Name == e.Source.Host }
		if e.Type != corev1.EventTypeWarning || !slices.ContainsFunc(c.Nodes(), ofThisCluster) {
			c.Errorf("%+v", e)
		}
	})
}
