//go:build kernel

package e2e

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
)

// A tenth of all calls of IPVS fails and four of ten of nft, which are fewer, while Services change: connections that are held live on,
// no request fails, and once the faults are over everything is as it should be, three passes of each frontend later.
func TestFaultsOfTheKernelCutNothingAndAreMended(t *testing.T) {
	x := newTrial(t, ipvsfake.Faults{Rate: 0.1, Seed: 9, Lossy: 0.1, Alone: true}, 40)
	open := x.hold(t)
	load := x.load(t, at(x.Node1.B6))
	random := rand.New(rand.NewPCG(2026, 9))
	const changes, most, faults = 150, 600, 10 // a slow node takes in many changes at once, and asks nft less often
	for n := 0; n < changes || n < most && x.filter.failed.Load() < faults; n++ {
		x.churn(random)
		time.Sleep(time.Duration(random.IntN(200)) * time.Millisecond) // the time between two changes
	}
	x.ask(x.web("rr", false))
	awaitAnswers(t, load)
	open.live(t)
	x.settles(t)
	t.Logf("%d operations, %d faults of nft", x.wary.ops.Load(), x.filter.failed.Load())
	awaitAnswers(t, load)
	open.live(t)
	noFailure(t, load)
	if n := x.filter.failed.Load(); n < faults {
		t.Errorf("nft failed %d times only", n)
	}
}

// Nothing works for a while: the node says so, what is served goes on being served, and all is well again once it works.
func TestHealthTurnsRedWhileNothingWorksAndGreenAgain(t *testing.T) {
	x := newTrial(t, ipvsfake.Faults{}, 0)
	eventually(t, "it serves", func() error { return x.settled(t.Context()) })
	open := x.hold(t)
	load := x.load(t, at(x.Node1.A4))
	x.filter.percent.Store(100)
	x.run(t, "", "nft", "add", "table", "inet", "kube-ipvs-other") // another generation: our table has to be read
	eventually(t, "it is not ready", func() error {
		if h := x.Health(time.Now()); h.Ready || !h.Alive || !strings.Contains(h.Reason, "deadline") {
			return fmt.Errorf("%+v", h)
		}
		return nil
	})
	tries := x.filter.failed.Load()
	x.ask(serviceOf("beside", "rr", nodePort+20, []frontend.Protocol{frontend.TCP}, x.web1.Addr4))
	awaitAnswers(t, load)
	open.live(t)
	x.settles(t)
	eventually(t, "it is ready", func() error {
		if h := x.Health(time.Now()); !h.Ready {
			return errors.New(h.Reason)
		}
		return nil
	})
	t.Logf("%d calls of nft failed until then, %d until it was red", x.filter.failed.Load(), tries)
	open.live(t)
	noFailure(t, load)
}

// Somebody else changes our entries in a loop. Nothing of ours goes by our own doing, and once he rests all is as it should be.
func TestAnotherWriterInALoopIsOutlasted(t *testing.T) {
	x := newTrial(t, ipvsfake.Faults{Rate: 0.1, Seed: 10}, 10)
	random := rand.New(rand.NewPCG(2026, 10))
	eventually(t, "it serves", func() error { return x.hasReals(t, 2) })
	ends, done := time.Now().Add(10*time.Second), 0
	for n := 0; time.Now().Before(ends); n++ {
		if n%5 == 0 {
			x.churn(random)
		}
		k := key(x.all()[random.IntN(4)], frontend.TCP)
		d := dst(x.web1, k.Addr).String()
		// What is not there is no reason to stop: it may not be back yet.
		args := [][]string{
			{"-d", "-t", k.AddrPort().String(), "-r", d},
			{"-e", "-t", k.AddrPort().String(), "-r", d, "-m", "-w", "7"},
			{"-E", "-t", k.AddrPort().String(), "-s", "sed"},
			{"-D", "-t", k.AddrPort().String()},
			{"-C"},
			{"-a", "-t", k.AddrPort().String(), "-r", "198.51.100.9:80", "-m"},
		}[random.IntN(6)]
		if x.Node1.Command(t.Context(), "ipvsadm", args...).Run() == nil {
			done++
		}
	}
	if t.Logf("%d changes of the other writer", done); done < 10 {
		t.Errorf("the other writer made %d changes only", done)
	}
	x.settles(t)
	x.served(t)
}
