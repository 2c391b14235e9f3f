//go:build cluster

package suite_test

import (
	"testing"

	"github.com/kube-ipvs/kube-ipvs/e2e/suite"
)

func TestANodePortReachesAllPodsEvenlyOnEveryChosenAddressAndOnNoOther(t *testing.T) {
	cases.Promise(t, func(c *suite.Case) {
		web := c.Service("web")
		pods := c.PodOnEach("web")
		c.ServedBy(c.Frontends(web), pods...)
		c.Silent(c.Unchosen(web))
	})
}
