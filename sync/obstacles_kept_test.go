package sync

import (
	"testing"
	"time"

	"github.com/kube-ipvs/kube-ipvs/filter/filtertest"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
)

// What an agent before served is taken from nobody who listens there, but only until it is given up.
func TestAPortThatAnAgentBeforeServedIsFreeOnceItIsGivenUp(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft)
		g.serve(web("10.244.1.2:8080"))
		g.stop()
		p := &programs{}
		g = start(t, kernel, nft, p.skip)
		g.serve(web("10.244.1.2:8080"))
		g.deliver(gone("web"))
		g.after(10 * time.Minute)
		g.expect()
		p.listen(listens(at1, 30080, "nginx (process 7)"))
		g.after(time.Minute)
		g.deliver(web("10.244.1.2:8080"))
		g.after(time.Minute)
		g.expect()
		p.listen()
		g.after(time.Minute)
		g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1")
	})
}
