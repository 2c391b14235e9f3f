//go:build kernel && linux

package observe_test

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/kube-ipvs/kube-ipvs/e2e/bench/observe"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

func TestEverythingInIPVSIsSeenWhenTheLastIsThere(t *testing.T) {
	node := newNode(t)
	o := open(t, observe.IPVS, node)
	want := rules{"ip", 20, 3}.want()
	table := asTable(want)
	foreign := frontend.NewKey(netip.MustParseAddr("10.96.0.1"), frontend.UDP, 53)
	last := rules{"ip", 20, 3}.keys(7)[1]
	lastReal := want[last][1]

	seen := complete(t, o, want)
	some := table.Clone()
	some[foreign] = ipvs.Entry{VirtualServer: ipvs.VirtualServer{Scheduler: "rr"}}
	delete(some[last].Reals, lastReal)
	restore(t, node, some)
	stillWaiting(t, seen)
	// As many as wanted, but another one; then the right one, but it does not serve.
	ipvsadm(t, node, "-a", "-t", last.AddrPort().String(), "-r", "192.0.2.1:80", "-m", "-w", "1")
	ipvsadm(t, node, "-a", "-t", last.AddrPort().String(), "-r", lastReal.String(), "-m", "-w", "0")
	stillWaiting(t, seen)
	begin := time.Now()
	ipvsadm(t, node, "-e", "-t", last.AddrPort().String(), "-r", lastReal.String(), "-m", "-w", "1")
	end := time.Now()

	got := <-seen
	if got.err != nil {
		t.Fatal(got.err)
	}
	t.Logf("seen %v after the end of ipvsadm, precision %v", got.at.Sub(end), got.precision)
	if got.at.Before(begin) || got.at.Add(-got.precision).After(end) {
		t.Errorf("seen %v after the begin and %v after the end of ipvsadm, with precision %v", got.at.Sub(begin), got.at.Sub(end), got.precision)
	}
}

func TestAnEndpointMoreInIPVSIsSeenWithinMilliseconds(t *testing.T) {
	node := newNode(t)
	o := open(t, observe.IPVS, node)
	s := rules{"ip", 2, 3}
	restore(t, node, asTable(s.want()))
	key, fresh := s.keys(1)[0], s.endpoint(1, 3)
	if _, err := o.Prepare(key, s.endpoint(1, 2)); err == nil {
		t.Errorf("%s is there, and can be waited for", s.endpoint(1, 2))
	}
	wait, err := o.Prepare(key, fresh)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	ipvsadm(t, node, "-a", "-t", s.keys(0)[0].AddrPort().String(), "-r", fresh.String(), "-m", "-w", "1")
	ipvsadm(t, node, "-a", "-t", key.AddrPort().String(), "-r", fresh.String(), "-m", "-w", "0")
	if _, err := wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, but it does not serve yet", err)
	}
	// Whatever else the machine does comes on top: the quickest of some is what the observer takes.
	quickest := time.Hour
	for range 5 {
		if wait, err = o.Prepare(key, fresh); err != nil {
			t.Fatal(err)
		}
		var begin, end time.Time
		done := make(chan struct{})
		go func() {
			defer close(done)
			begin = time.Now()
			ipvsadm(t, node, "-e", "-t", key.AddrPort().String(), "-r", fresh.String(), "-m", "-w", "1")
			end = time.Now()
		}()
		at, err := wait(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		<-done
		if at.Before(begin) {
			t.Errorf("seen %v before ipvsadm began", begin.Sub(at))
		}
		quickest = min(quickest, at.Sub(end))
		ipvsadm(t, node, "-e", "-t", key.AddrPort().String(), "-r", fresh.String(), "-m", "-w", "0")
	}
	t.Logf("seen %v after the end of ipvsadm", quickest)
	if quickest > 50*time.Millisecond {
		t.Errorf("seen %v after the end of ipvsadm at best", quickest)
	}
}

func TestWhatIPVSLacksIsSaid(t *testing.T) {
	node := newNode(t)
	o := open(t, observe.IPVS, node)
	s := rules{"ip", 2, 3}
	table := asTable(s.want())
	delete(table, s.keys(0)[0])
	delete(table[s.keys(1)[1]].Reals, s.endpoint(1, 0))
	table[frontend.NewKey(netip.MustParseAddr("10.96.0.1"), frontend.TCP, 80)] = ipvs.Entry{VirtualServer: ipvs.VirtualServer{Scheduler: "rr"}}
	restore(t, node, table)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, _, err := o.Complete(ctx, s.want())
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "2 of 4 frontends") {
		t.Errorf("%v, but 2 of 4 frontends lack something", err)
	}
}

// BenchmarkCompleteIPVS2700x10x2 is how much later a writer ends when it is observed, and with which precision: 2,700 Services with 10 endpoints on two addresses.
func BenchmarkCompleteIPVS2700x10x2(b *testing.B) {
	want := rules{"ip", 2700, 10}.want()
	plan := ipvs.Diff(nil, asTable(want))
	network, err := topo.New(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	defer network.Close()
	for b.Loop() {
		alone := write(b, network.Node2, plan)
		o, err := observe.IPVS(network.Node1)
		if err != nil {
			b.Fatal(err)
		}
		end := make(chan time.Time)
		begin := time.Now()
		go func() {
			write(b, network.Node1, plan)
			end <- time.Now()
		}()
		at, precision, err := o.Complete(b.Context(), want)
		if err != nil {
			b.Fatal(err)
		}
		ended := <-end
		b.Logf("alone %v, observed %v, seen %v after the end, precision %v", alone, ended.Sub(begin), at.Sub(ended), precision)
		o.Close()
	}
}

func write(b *testing.B, node *topo.Host, plan ipvs.Plan) time.Duration {
	var h ipvs.Handle
	if err := node.Do(func() (err error) {
		h, err = ipvs.Open(ipvs.Options{})
		return err
	}); err != nil {
		b.Fatal(err)
	}
	defer h.Close()
	begin := time.Now()
	if r := ipvs.Apply(b.Context(), h, plan); len(r.Done) != len(plan) {
		b.Errorf("%d of %d done: %v", len(r.Done), len(plan), r.Failed)
	}
	return time.Since(begin)
}

func asTable(want observe.Want) ipvs.Table {
	table := ipvs.Table{}
	for key, endpoints := range want {
		e := ipvs.Entry{VirtualServer: ipvs.VirtualServer{Scheduler: "rr"}, Reals: map[netip.AddrPort]ipvs.RealServer{}}
		for _, a := range endpoints {
			e.Reals[a] = ipvs.RealServer{Weight: 1}
		}
		table[key] = e
	}
	return table
}

func restore(t *testing.T, node *topo.Host, table ipvs.Table) {
	t.Helper()
	var text strings.Builder
	if err := table.Save(&text); err != nil {
		t.Fatal(err)
	}
	c := node.Command(t.Context(), "ipvsadm", "--restore")
	c.Stdin = strings.NewReader(text.String())
	if out, err := c.CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("ipvsadm --restore: %v: %s", err, out)
	}
}

func ipvsadm(t *testing.T, node *topo.Host, args ...string) {
	t.Helper()
	if out, err := node.Command(t.Context(), "ipvsadm", args...).CombinedOutput(); err != nil {
		t.Errorf("ipvsadm %s: %v: %s", strings.Join(args, " "), err, out)
	}
}
