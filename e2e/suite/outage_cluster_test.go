//go:build cluster

package suite_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"

	"github.com/kube-ipvs/kube-ipvs/e2e/suite"
	"github.com/kube-ipvs/kube-ipvs/e2e/suite/labcluster"
)

func TestTrafficGoesOnWhileTheAPIServerIsKilledAndChangesArriveOnceItIsBack(t *testing.T) {
	cases.Promise(t, func(c *suite.Case) {
		api := suite.Need[suite.APIServer](c)
		web := c.Service("web")
		pods := c.PodOnEach("web")
		frontends := suite.Some(c.Frontends(web))
		c.ServedBy(frontends, pods...)
		load := c.Load(frontends...)
		api.KillAPIServer()
		restart := c.Afterwards(func() error { return api.StartAPIServer(c.Context()) })
		c.Answered(load, 50)
		restart()
		third := c.Pod("web", c.Nodes()[0].Name, "third")
		// Those who follow the API server try again after up to 30 s.
		for _, f := range frontends {
			c.Within(90*time.Second, f.String(), func() error { return c.Spreads(f, append([]string{third.Name}, pods...)...) })
		}
		c.Answered(load, 20)
		c.Unharmed(load)
	})
}

// outage is how long the API server does not answer: longer than clients wait for a ping before they give a connection up (45 s).
const outage = 60 * time.Second

func TestTrafficGoesOnWhileTheAPIServerDoesNotAnswerAndChangesArriveAfterwards(t *testing.T) {
	cases.Promise(t, func(c *suite.Case) {
		api := suite.Need[suite.APIServer](c)
		web := c.Service("web")
		pods := c.PodOnEach("web")
		frontends := suite.Some(c.Frontends(web))
		c.ServedBy(frontends, pods...)
		load := c.Load(frontends...)

		c.Must(api.PauseAPIServer())
		resume := c.Afterwards(api.ResumeAPIServer)
		paused := time.Now()
		changed := make(chan error, 1)
		go func() { changed <- deleteThrough(c, pods[0]) }()
		for time.Since(paused) < outage {
			c.Answered(load, 50)
		}
		c.Unharmed(load)
		resume()
		c.Must(<-changed)
		// The pod may end before those who follow the API server try again, after up to 30 s: until then it is asked in vain,
		// and nobody on its node could know.
		for _, f := range frontends {
			c.Within(90*time.Second, f.String(), func() error { return c.Spreads(f, pods[1]) })
		}
		after := c.Load(frontends...)
		c.Answered(after, 20)
		c.Unharmed(after)
	})
}

// deleteThrough deletes a pod through an outage. A request that the API server
// had no time for may come back with a timeout or a closed connection, whether
// or not it was carried out, so it is repeated until the pod is known to go.
func deleteThrough(c *suite.Case, pod string) error {
	client, err := kubernetes.NewForConfig(c.Config())
	if err != nil {
		return err
	}
	var last error
	err = wait.PollUntilContextTimeout(c.Context(), 100*time.Millisecond, outage+time.Minute, true, func(ctx context.Context) (bool, error) {
		last = client.CoreV1().Pods(c.Namespace).Delete(ctx, pod, metav1.DeleteOptions{})
		return last == nil || apierrors.IsNotFound(last), nil
	})
	if err != nil {
		return fmt.Errorf("deleting pod %s: %w (last answer: %w)", pod, err, last)
	}
	return nil
}

func TestAnAgentThatIsKilledLosesNothingAndCatchesUp(t *testing.T) {
	cases.Promise(t, func(c *suite.Case) {
		agents := suite.Need[suite.Agents](c)
		node := c.Nodes()[0].Name
		web := c.Service("web")
		pods := c.PodOnEach("web")
		frontends := suite.Some(c.Frontends(web, node))
		c.ServedBy(frontends, pods...)
		held := c.Connect(suite.Over(suite.TCP, frontends)[0])
		before := held.Ask()
		load := c.Load(frontends...)
		c.Must(agents.KillAgent(c.Context(), node))
		restart := c.Afterwards(func() error { return agents.StartAgent(c.Context(), node, false) })
		c.Answered(load, 20)
		third := c.Pod("web", c.Nodes()[1].Name, "third")
		other := c.Service("other", func(s *corev1.Service) { s.Spec.Selector = web.Spec.Selector })
		restart()
		c.ServedBy(frontends, append([]string{third.Name}, pods...)...)
		c.ServedBy(suite.Some(c.Frontends(other, node)), append([]string{third.Name}, pods...)...)
		c.Answered(load, 20)
		c.Unharmed(load)
		if after := held.Ask(); after != before {
			c.Errorf("the connection moved from %s to %s", before, after)
		}
	})
}

func TestAnUpgradeOfTheAgentLosesNothing(t *testing.T) {
	cases.Promise(t, func(c *suite.Case) {
		agents := suite.Need[suite.Agents](c)
		web := c.Service("web")
		pods := c.PodOnEach("web")
		frontends := suite.Some(c.Frontends(web))
		c.ServedBy(frontends, pods...)
		held := c.Connect(suite.Over(suite.TCP, frontends)[0])
		before := held.Ask()
		load := c.Load(frontends...)
		c.Answered(load, 20)
		for _, next := range []bool{true, false} {
			for _, n := range c.Nodes() {
				c.Must(agents.StopAgent(c.Context(), n.Name))
				c.Must(agents.StartAgent(c.Context(), n.Name, next))
				log, err := agents.AgentLog(c.Context(), n.Name)
				c.Must(err)
				if strings.Contains(log, `version="`+labcluster.NextVersion+`"`) != next {
					c.Errorf("the agent of %s is not the one that was asked for:\n%s", n.Name, log)
				}
			}
			c.ServedBy(frontends, pods...)
		}
		c.Answered(load, 20)
		c.Unharmed(load)
		if after := held.Ask(); after != before {
			c.Errorf("the connection moved from %s to %s", before, after)
		}
	})
}

func TestARollOutOfTheAgentsLosesNothingAndTheNewOnesGoOn(t *testing.T) {
	cases.Promise(t, func(c *suite.Case) {
		web := c.Service("web")
		pods := c.PodOnEach("web")
		frontends := suite.Some(c.Frontends(web))
		c.ServedBy(frontends, pods...)
		load := c.Load(frontends...)
		c.Answered(load, 20)
		c.Must(c.RollAgents(c.Context()))
		third := c.Pod("web", c.Nodes()[0].Name, "third")
		c.ServedBy(frontends, append([]string{third.Name}, pods...)...)
		c.Answered(load, 20)
		c.Unharmed(load)
	})
}
