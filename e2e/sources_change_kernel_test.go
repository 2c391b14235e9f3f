//go:build kernel

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/agent"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
)

// knocking asks a node port without end, on all protocols and families, and with as little patience as an answer takes.
func (r *rig) knocking(t *testing.T, from visitor, port uint16) []*topo.Load {
	var loads []*topo.Load
	for _, to := range from.to {
		for _, protocol := range protocols() {
			load := &topo.Load{
				From: from.host, As: from.at(to).Addr(), Protocol: protocol, To: netip.AddrPortFrom(to, port),
				Pause: 5 * time.Millisecond, Patience: 250 * time.Millisecond,
			}
			load.Start(t.Context())
			loads = append(loads, load)
		}
	}
	return loads
}

// neverHeard requires that all of them asked, that nobody answered, and that nobody said so either unless the port was closed at times.
func neverHeard(t *testing.T, loads []*topo.Load, closedAtTimes bool) {
	t.Helper()
	asked := 0
	for _, load := range loads {
		tally := load.Stop()
		asked += len(tally.Failures)
		if err := metSilence(tally, closedAtTimes); err != nil {
			t.Errorf("%s from %s to %s: %v", load.Protocol, load.As, load.To, err)
		}
	}
	t.Logf("%d requests were not answered", asked)
}

// metSilence is an error unless requests met silence, all of them but those that were refused while the port was closed. One that failed
// for another reason, such as an address that cannot be bound, asked nothing.
func metSilence(tally topo.Tally, closedAtTimes bool) error {
	if tally.Answers() > 0 {
		return fmt.Errorf("it was answered: %v", tally)
	}
	met := 0
	for _, f := range tally.Failures {
		switch {
		case silent(f.Err):
			met++
		case !closedAtTimes || !errors.Is(f.Err, unix.ECONNREFUSED):
			return fmt.Errorf("%w, want silence", f.Err)
		}
	}
	if met == 0 {
		return fmt.Errorf("none of %d requests met silence", len(tally.Failures))
	}
	return nil
}

// awaitSilence returns when each of them has asked from now on and met silence.
func awaitSilence(t *testing.T, loads []*topo.Load) {
	t.Helper()
	begin := time.Now()
	eventually(t, "who knocks meets silence", func() error {
		for _, load := range loads {
			if !slices.ContainsFunc(load.Tally().Failures, func(f topo.Failure) bool { return f.At.After(begin) && silent(f.Err) }) {
				return fmt.Errorf("%s from %s to %s has not yet", load.Protocol, load.As, load.To)
			}
		}
		return nil
	})
}

func (r *rig) testNewService(t *testing.T) {
	s := restricted("new", newPort, "deny-source-ranges", farRanges)
	loads := r.knocking(t, r.far(), newPort)
	for range 2 {
		r.serve(t, s, agent.Ready(r.web1, r.Node1))
		r.awaitServing(t, newPort, r.all()...)
		r.admits(t, visit{r.near(), newPort, true})
		awaitSilence(t, loads)
		r.remove(t, s)
	}
	neverHeard(t, loads, true)
	if n := r.seen(t, r.far()); n > 0 {
		t.Errorf("web-1 received %d packets of far", n)
	}
}

// flood sends datagrams to a node port without end, one each millisecond, and waits for no answer: often enough to meet a
// moment without rules. The function that it returns stops it and says how many were sent and how many answers came.
func (r *rig) flood(t *testing.T, from visitor, to netip.AddrPort) (stop func() (sent, answers int)) {
	t.Helper()
	c, err := from.host.DialAs(t.Context(), topo.UDP, from.at(to.Addr()), to)
	must(t, err)
	var both sync.WaitGroup
	sent, answers, stopped := 0, 0, make(chan struct{})
	both.Go(func() {
		for buf := make([]byte, 512); ; answers++ {
			if _, err := c.Read(buf); err != nil {
				return
			}
		}
	})
	both.Go(func() {
		every := time.NewTicker(time.Millisecond)
		defer every.Stop()
		for {
			select {
			case <-every.C:
				if _, err := c.Write([]byte("who\n")); err == nil {
					sent++
				}
			case <-stopped:
				return
			}
		}
	})
	return func() (int, int) {
		close(stopped)
		_ = c.Close()
		both.Wait()
		return sent, answers
	}
}

// Both lists of web allow near and deny far, one of them as it allows only near; both of deny have nothing but whom they
// deny.
func (r *rig) testChangingRanges(t *testing.T) {
	const changes = 10
	denied := append(r.knocking(t, r.far(), nodePort), r.knocking(t, r.far(), denyPort)...)
	floods := map[netip.AddrPort]func() (int, int){}
	for _, port := range []uint16{nodePort, denyPort} {
		for _, addr := range r.onA() {
			to := netip.AddrPortFrom(addr, port)
			floods[to] = r.flood(t, r.far(), to)
		}
	}
	var allowed []*topo.Load
	for _, protocol := range []string{topo.HTTP, topo.UDP} {
		for _, to := range r.near().to {
			load := &topo.Load{
				From: r.Client, As: r.near().at(to).Addr(), Protocol: protocol, To: at(to), Workers: 2, Pause: 20 * time.Millisecond,
			}
			load.Start(t.Context())
			allowed = append(allowed, load)
		}
	}
	begin := time.Now()
	for i := range changes {
		before := r.pointers(t)
		s := restricted("web", nodePort, "source-ranges", nearRanges, "deny-source-ranges", farRanges)
		if i%2 == 0 {
			s = restricted("web", nodePort, "source-ranges", "10.1.0.2,fd01::/122")
		}
		must(t, r.Service(restricted("deny", denyPort, "deny-source-ranges", fmt.Sprintf("%s,10.66.%d.0/24", farRanges, i))))
		must(t, r.Service(s))
		r.awaitLists(t, before)
	}
	t.Logf("%d changes took %s", changes, since(begin))
	for _, load := range allowed {
		awaitAnswers(t, load)
		for _, f := range noFailure(t, load).Failures {
			t.Logf("%s after the first change: %v", f.At.Sub(begin), f.Err)
		}
	}
	neverHeard(t, denied, false)
	for to, stop := range floods {
		if sent, answers := stop(); answers > 0 || sent == 0 {
			t.Errorf("%d of %d datagrams of far to %s were answered", answers, sent, to)
		}
	}
	if n := r.seen(t, r.far()); n > 0 {
		t.Errorf("web-1 received %d packets of far", n)
	}
}

func (r *rig) testSpecRanges(t *testing.T, spec agent.Service) {
	loads := r.knocking(t, r.far(), nodePort)
	r.kill(t)
	r.start(t, bothNetworks, "--masquerade=remote")
	if n := r.operations(t); n != 0 {
		t.Errorf("a restart did %d operations", n)
	}
	r.stop(t)
	r.start(t, bothNetworks, "--masquerade=remote", "--nodeport-source-ranges=spec")
	neverHeard(t, loads, false)
	r.admits(t, visit{r.near(), specPort, true}, visit{r.far(), specPort, false}, visit{r.near(), nodePort, true})
	spec.Annotations["kube-ipvs.io/source-ranges"] = nearRanges
	before := r.pointers(t)
	must(t, r.Service(spec))
	r.awaitLists(t, before)
	r.admits(t, visit{r.near(), specPort, true}, visit{r.far(), specPort, true})
}

// Whoever deletes our table opens what it closes, until the agent has noticed.
func (r *rig) testRangesFlushed(t *testing.T) {
	far, to := r.far(), r.Node1.A4
	ask := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 250*time.Millisecond)
		defer cancel()
		_, err := topo.AskAs(ctx, far.host, far.at(to), topo.TCP, at(to))
		return err
	}
	if err := ask(); !silent(err) {
		t.Fatalf("before: %v", err)
	}
	r.run(t, "", "nft", "flush", "ruleset")
	flushed, answered := time.Now(), time.Duration(0)
	eventually(t, "far is not heard", func() error {
		err := ask()
		if err == nil {
			answered = since(flushed)
			return errors.New("it is answered")
		}
		if silent(err) {
			return nil
		}
		return err
	})
	eventually(t, "our table is whole", func() error {
		state, err := r.rules(t.Context())
		if err == nil && !state.Intact {
			err = errors.New("it is not")
		}
		return err
	})
	t.Logf("far was answered up to %s after the flush; the table was whole after %s at the latest", answered, since(flushed))
	if took := since(flushed); took > soon {
		t.Errorf("it took %s", took)
	}
	r.admits(t, visit{far, nodePort, false}, visit{r.near(), nodePort, true})
}
