//go:build kernel && upgrade

package e2e

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/agent"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// holdAll opens connections to all Services, and one that drains.
func (r *rig) holdAll(t *testing.T, departs, seen *topo.Pod) held {
	t.Helper()
	must(t, r.Endpoints(upgraded(), append(r.both(), agent.Ready(departs, r.Node2))))
	eventually(t, "all are served", func() error { return r.hasReals(t, 3) })
	open := r.holdUntil(t, departs)
	must(t, r.Endpoints(upgraded(), r.both()))
	eventually(t, "what has connections drains, and nothing else", func() error {
		for k, entry := range r.table(t) {
			real, there := entry.Reals[dst(departs, k.Addr)]
			if drains := k.Protocol == frontend.TCP && k.Port == nodePort; there != drains || real.Weight != 0 {
				return fmt.Errorf("%s has it: %v, with weight %d", k, there, real.Weight)
			}
		}
		return nil
	})
	maps.Copy(open, r.hold(t))
	maps.Copy(open, r.holdLocal(t, seen))
	return open
}

// holdUntil opens connections over TCP to each address until a pod has one on each.
func (r *rig) holdUntil(t *testing.T, pod *topo.Pod) held {
	t.Helper()
	open := held{}
	for _, addr := range r.all() {
		for found, tries := false, 0; !found; tries++ {
			if tries == 20 {
				t.Fatalf("%s was not asked in %d connections to %s", pod.Name, tries, addr)
			}
			c, who := r.dial(t, at(addr))
			open[c] = who
			found = who == pod.Name
		}
	}
	return open
}

// holdLocal opens connections to the Service whose clients are not masqueraded.
func (r *rig) holdLocal(t *testing.T, seen *topo.Pod) held {
	t.Helper()
	open := held{}
	for addr, client := range r.own() {
		for _, protocol := range []string{topo.TCP, topo.UDP} {
			to := netip.AddrPortFrom(addr, seenPort)
			c, err := r.Client.Dial(t.Context(), protocol, to)
			must(t, err)
			t.Cleanup(func() { _ = c.Close() })
			must(t, c.SetDeadline(time.Now().Add(10*time.Second)))
			a, err := topo.AskOn(c)
			must(t, err)
			if a.Pod != seen.Name || a.Client != client {
				t.Fatalf("%s %s: %s answers %s, want %s to see %s", protocol, to, a.Pod, a.Client, seen.Name, client)
			}
			open[c] = a.Pod
		}
	}
	return open
}

// loadAll asks both Services on new connections without end.
func (r *rig) loadAll(t *testing.T) []*topo.Load {
	local := func(addr netip.Addr) netip.AddrPort { return netip.AddrPortFrom(addr, seenPort) }
	loads := []*topo.Load{
		{Protocol: topo.TCP, To: at(r.Node1.B4)},
		{Protocol: topo.TCP, To: at(r.Node1.A6)},
		{Protocol: topo.UDP, To: at(r.Node1.A4)},
		{Protocol: topo.UDP, To: at(r.Node1.B6)},
		{Protocol: topo.TCP, To: local(r.Node1.B6)},
		{Protocol: topo.UDP, To: local(r.Node1.B4)},
	}
	for _, load := range loads {
		load.From, load.Pause = r.Client, 50*time.Millisecond
		load.Start(t.Context())
	}
	return loads
}

// chat asks on one connection without end, as long as it is answered by whom it was answered first.
type chat struct {
	conn  net.Conn
	stop  context.CancelFunc
	ended chan struct{}
	asked int
	err   error // to be read, as asked, when ended is closed
}

// chatAll talks on connections of both protocols and families.
func (r *rig) chatAll(t *testing.T) []*chat {
	t.Helper()
	var chats []*chat
	for _, addr := range []netip.Addr{r.Node1.A4, r.Node1.B6} {
		for _, protocol := range []string{topo.TCP, topo.UDP} {
			conn, err := r.Client.Dial(t.Context(), protocol, at(addr))
			must(t, err)
			ctx, stop := context.WithCancel(t.Context())
			c := &chat{conn: conn, stop: stop, ended: make(chan struct{})}
			t.Cleanup(func() { stop(); _ = conn.Close() })
			go c.talk(ctx, askOn(t, conn))
			chats = append(chats, c)
		}
	}
	return chats
}

func (c *chat) talk(ctx context.Context, pod string) {
	defer close(c.ended)
	for ctx.Err() == nil && c.err == nil {
		var a topo.Answer
		if c.err = c.conn.SetDeadline(time.Now().Add(10 * time.Second)); c.err == nil {
			a, c.err = topo.AskOn(c.conn)
		}
		if c.err == nil && a.Pod != pod {
			c.err = fmt.Errorf("%s answers, and before it was %s", a.Pod, pod)
		}
		c.asked++
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

func (c *chat) finish(t *testing.T) {
	t.Helper()
	c.stop()
	<-c.ended
	if c.err != nil {
		t.Errorf("the connection to %s %s, at request %d: %v", c.conn.RemoteAddr().Network(), c.conn.RemoteAddr(), c.asked, c.err)
	}
}

func failures(loads []*topo.Load) int {
	n := 0
	for _, load := range loads {
		n += len(load.Tally().Failures)
	}
	return n
}
