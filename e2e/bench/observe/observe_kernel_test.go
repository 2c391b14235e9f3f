//go:build kernel && linux

package observe_test

import (
	"testing"
	"time"

	"github.com/kube-ipvs/kube-ipvs/e2e/bench/observe"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
)

func newNode(t *testing.T) *topo.Host {
	t.Helper()
	network, err := topo.New(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := network.Close(); err != nil {
			t.Error(err)
		}
	})
	return network.Node1
}

func open(t testing.TB, open func(*topo.Host) (observe.Observer, error), node *topo.Host) observe.Observer {
	t.Helper()
	o, err := open(node)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := o.Close(); err != nil {
			t.Error(err)
		}
	})
	return o
}

type seen struct {
	at        time.Time
	precision time.Duration
	err       error
}

// complete lets an observer wait for everything.
func complete(t testing.TB, o observe.Observer, want observe.Want) <-chan seen {
	c := make(chan seen, 1)
	go func() {
		var s seen
		s.at, s.precision, s.err = o.Complete(t.Context(), want)
		c <- s
	}()
	return c
}

// stillWaiting fails if the observer saw what is not there within some looks.
func stillWaiting(t *testing.T, c <-chan seen) {
	t.Helper()
	select {
	case s := <-c:
		t.Fatalf("seen before it was there: %+v", s)
	case <-time.After(200 * time.Millisecond):
	}
}
