//go:build kernel

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/agent"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

// deaf is a ruleset under which a host hears of no SYN, of a pod's port and of the node port.
const deaf = `table ip deaf {
	chain prerouting {
		type filter hook prerouting priority -300
		tcp dport { 8080, 30080 } tcp flags & (syn | ack) == syn drop
	}
}`

// A real server goes as soon as it has no connection of any kind at weight 0. One whose SYN is not answered yet is one: the kernel counts it
// as active from the SYN on (tcp_state_active_table, Linux 6.1). A SYN that comes again meets a real server of weight 0 and goes to another,
// because of expire_nodest_conn (ip_vs_in_hook).
func TestAConnectionThatIsBeingOpenedKeepsItsRealServer(t *testing.T) {
	r := newRig(t)
	s := web()
	r.serve(t, s, agent.Ready(r.web2, r.Node2))
	r.start(t, bothNetworks)
	k := key(r.Node1.A4, frontend.TCP)
	leaves, stays := dst(r.web2, k.Addr), dst(r.web1, k.Addr)
	eventually(t, "the pod is served", func() error { return r.hasReals(t, 1) })

	nft(t, r.web2.Host, "-f", "-")
	opening := r.open(t, k)
	halfOpen := func() error { return r.isHalfOpen(t.Context(), k, leaves) }
	eventually(t, "the connection is half open, and counted as active", halfOpen)
	nft(t, r.Node1, "-f", "-") // from now on SYNs are lost on their way to the node
	must(t, r.Endpoints(s, []agent.Endpoint{agent.Ready(r.web1, r.Node1)}))
	drains := func() error {
		weights, err := r.weights(t.Context(), k)
		weight, there := weights[leaves]
		if err == nil && (len(weights) != 2 || weights[stays] != 1 || !there || weight != 0) {
			err = fmt.Errorf("the weights are %v", weights)
		}
		return err
	}
	eventually(t, "weight 0", drains)
	holds(t, longerThanSettle, "the real server stays, and so does its connection", func() error { return errors.Join(drains(), halfOpen()) })
	weights, err := r.weights(t.Context(), key(r.Node1.B4, frontend.TCP))
	if err != nil || len(weights) != 1 {
		t.Errorf("where nobody opens a connection the weights are %v, %v", weights, err)
	}

	nft(t, r.Node1, "delete", "table", "ip", "deaf")
	o := <-opening
	must(t, o.err)
	defer o.conn.Close()
	if got := askOn(t, o.conn); got != r.web1.Name {
		t.Errorf("the connection is answered by %s, not by %s", got, r.web1.Name)
	}
	eventually(t, "the real server is deleted", func() error { return r.hasReals(t, 1) })
}

// opened is what became of the opening of a connection.
type opened struct {
	conn net.Conn
	err  error
}

// open opens a connection from the client, for as long as that takes.
func (r *rig) open(t *testing.T, k frontend.Key) <-chan opened {
	t.Helper()
	ctx, giveUp := context.WithTimeout(t.Context(), 90*time.Second)
	t.Cleanup(giveUp)
	opening := make(chan opened, 1)
	go func() {
		c, err := r.Client.Dial(ctx, topo.TCP, k.AddrPort())
		opening <- opened{c, err}
	}()
	return opening
}

// isHalfOpen is nil if a real server has one connection, which waits for the answer to its SYN.
func (r *rig) isHalfOpen(ctx context.Context, k frontend.Key, real netip.AddrPort) error {
	c, err := r.counted(ctx, k, real)
	if err != nil {
		return err
	}
	state, err := r.connections()
	if err == nil && (c != ipvs.Connections{Active: 1} || !strings.Contains(state, "SYN_RECV")) {
		err = fmt.Errorf("it has %+v:\n%s", c, state)
	}
	return err
}

// nft runs nft on a host, with the ruleset deaf as its standard input.
func nft(t *testing.T, host *topo.Host, args ...string) {
	t.Helper()
	cmd := host.Command(t.Context(), "nft", args...)
	cmd.Stdin = strings.NewReader(deaf)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("nft %v: %v\n%s", args, err, out)
	}
}

// counted are the connections of one real server, as the kernel counts them.
func (r *rig) counted(ctx context.Context, k frontend.Key, real netip.AddrPort) (c ipvs.Connections, err error) {
	err = r.Node1.Do(func() error {
		kernel, err := ipvs.Open(ipvs.Options{})
		if err != nil {
			return err
		}
		defer kernel.Close()
		_, all, err := kernel.Get(ctx, k)
		c = all[real]
		return err
	})
	return c, err
}
