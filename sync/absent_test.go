package sync

import (
	"errors"
	"testing"
	"time"

	"github.com/kube-ipvs/kube-ipvs/filter/filtertest"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
)

func (g *rig) expectAway(t *testing.T, when string, want bool) {
	t.Helper()
	if got := g.rules().Away; got != want {
		t.Errorf("%s: the table has it that an address is away: %v, want %v", when, got, want)
	}
}

func TestWhileAnAddressIsInItsGraceOurTableHasItSo(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft)
		g.addresses.set("10.1.0.10", "10.2.0.10")
		g.deliver(web("10.244.1.2:8080"))
		g.expectAway(t, "at first", false)
		g.addresses.set("10.1.0.10")
		g.after(time.Second)
		g.expectAway(t, "within the grace", true)
		g.addresses.set("10.1.0.10", "10.2.0.10")
		g.after(time.Second)
		g.expectAway(t, "back", false)
		g.addresses.set("10.1.0.10")
		g.after(59 * time.Second)
		g.expectAway(t, "at the end of the grace", true)
		g.after(2 * time.Second)
		g.expectAway(t, "after the grace", false)
	})
}

// An agent finds what one before it wrote, and an address may come back, or leave, while none runs.
func TestWhatIsAwayOutlivesARestart(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft)
		g.addresses.set("10.1.0.10", "10.2.0.10")
		g.deliver(web("10.244.1.2:8080"))
		g.stop()
		g = start(t, kernel, nft) // with 10.1.0.10 alone
		g.serve(web("10.244.1.2:8080"))
		g.expectAway(t, "gone while no agent ran", true)
		g.stop()
		g = start(t, kernel, nft)
		g.addresses.set("10.1.0.10", "10.2.0.10")
		g.deliver(web("10.244.1.2:8080"))
		g.expectAway(t, "back while no agent ran", false)
	})
}

// What cannot be written is tried again, and holds nobody.
func TestAnAddressIsAwayWhileNftFails(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft)
		g.addresses.set("10.1.0.10", "10.2.0.10")
		g.deliver(web("10.244.1.2:8080"))
		nft.SetFault(func(string) error { return errors.New("no memory") })
		g.addresses.set("10.1.0.10")
		g.after(time.Second)
		g.deliver(web("10.244.1.2:8080", "10.244.1.3:8080"))
		g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1 10.244.1.3:8080*1", "tcp://10.2.0.10:30080 rr 10.244.1.2:8080*1 10.244.1.3:8080*1")
		nft.SetFault(nil)
		g.after(20 * time.Second)
		g.expectAway(t, "once nft works", true)
	})
}
