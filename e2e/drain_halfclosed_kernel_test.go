//go:build kernel

package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/agent"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// A client that has said all it has to say may end its side and go on to read, as rsync and nc do. IPVS counts such a connection as
// inactive, with those that have ended.
func TestAClientThatHasEndedItsSideIsAnsweredByAPodThatIsNotChosenAnyMore(t *testing.T) {
	const target = 9000
	r := newRig(t)
	at4 := netip.AddrPortFrom(r.web2.Addr4, target)
	listener, err := r.web2.Listen(t.Context(), at4)
	must(t, err)
	defer listener.Close()
	go answerAtTheEnd(t.Context(), listener)
	s := agent.Service{Name: "long", Ports: []agent.Port{{NodePort: nodePort, Target: target}}}
	r.serve(t, s, agent.Ready(r.web2, r.Node2))
	r.start(t, bothNetworks)

	c, err := r.Client.Dial(t.Context(), topo.TCP, at(r.Node1.A4))
	must(t, err)
	defer c.Close()
	must(t, c.(*net.TCPConn).CloseWrite())
	lines := bufio.NewReader(c)
	next := func() error {
		must(t, c.SetReadDeadline(time.Now().Add(5*time.Second)))
		_, err := lines.ReadString('\n')
		return err
	}
	must(t, next())

	s.Policy = corev1.ServiceExternalTrafficPolicyLocal
	must(t, r.Service(s))
	must(t, r.Endpoints(s, r.both()))
	k := key(r.Node1.A4, frontend.TCP)
	eventually(t, "the pod of the other node is not chosen", func() error {
		weights, err := r.weights(t.Context(), k)
		if weight, there := weights[at4]; err == nil && (len(weights) != 2 || !there || weight != 0) {
			err = fmt.Errorf("the weights are %v", weights)
		}
		return err
	})
	for begin, n := time.Now(), 1; time.Since(begin) < 2*longerThanSettle; n++ {
		if err := next(); err != nil {
			t.Fatalf("%s after the pod was not chosen any more, at line %d: %v", since(begin), n, err)
		}
	}
}

// answerAtTheEnd answers a client once it has ended its side, and goes on until the client has gone or ctx ends.
func answerAtTheEnd(ctx context.Context, l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			if _, err := io.Copy(io.Discard, c); err != nil {
				return
			}
			for ctx.Err() == nil {
				if _, err := io.WriteString(c, "and more\n"); err != nil {
					return
				}
				time.Sleep(200 * time.Millisecond) // an answer that takes its time
			}
		}()
	}
}
