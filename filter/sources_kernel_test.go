//go:build kernel

package filter_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// admit gives frontends a list, nil for none.
func (n *network) admit(t *testing.T, s *filter.Sources, keys ...frontend.Key) {
	t.Helper()
	want := n.rules.Clone()
	if want.Sources == nil {
		want.Sources = map[frontend.Key]*filter.Sources{}
	}
	for _, key := range keys {
		want.Sources[key] = s
		if s == nil {
			delete(want.Sources, key)
		}
	}
	n.apply(t, want)
}

// admits is what a list is to mean.
func admits(s *filter.Sources, client netip.Addr) bool {
	within := func(list []netip.Prefix) bool {
		for _, p := range list {
			if p.Contains(client) {
				return true
			}
		}
		return false
	}
	return !within(s.Deny()) && (len(s.Allow()) == 0 || within(s.Allow()))
}

// wantAdmitted asks all frontends at once, from outside, from a pod and from the node itself, and compares who is served.
func (n *network) wantAdmitted(t *testing.T, pod *topo.Pod) {
	t.Helper()
	var all sync.WaitGroup
	for _, key := range n.frontends() {
		own := pod.Addr4
		if key.Addr.Is6() {
			own = pod.Addr6
		}
		for from, client := range map[*topo.Host]netip.Addr{n.Client: n.client(key), pod.Host: own, n.Node1: key.Addr} {
			admitted := admits(n.rules.Sources[key], client)
			all.Go(func() {
				err := knock(t.Context(), from, key, admitted)
				if err != nil {
					t.Errorf("%s from %s (%s), whose list is %q: %v", key, from.Name, client, n.rules.Sources[key], err)
				}
			})
		}
	}
	all.Wait()
}

// knock asks once. One who is admitted gets an answer; another nothing at all, for as long as an answer may take.
func knock(ctx context.Context, from *topo.Host, key frontend.Key, admitted bool) error {
	if admitted {
		_, err := topo.Ask(ctx, from, key.Protocol.String(), key.AddrPort())
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_, err := topo.Ask(ctx, from, key.Protocol.String(), key.AddrPort())
	late, isNet := errors.AsType[net.Error](err)
	switch {
	case err == nil:
		return errors.New("is served")
	case isNet && late.Timeout(), errors.Is(err, syscall.EPERM): // what the node itself sends is refused where it is sent
		return nil
	}
	return err
}

func single(addrs ...netip.Addr) []netip.Prefix {
	var list []netip.Prefix
	for _, addr := range addrs {
		list = append(list, netip.PrefixFrom(addr, addr.BitLen()))
	}
	return list
}

func TestOnlyTheClientsOfAListAreServed(t *testing.T) {
	n := newNetwork(t)
	beside := n.pod(t, n.Node1, "beside")
	c, node := n.Client, n.Node1
	for _, s := range []*filter.Sources{
		nil,
		filter.NewSources(single(c.A4, c.B4, c.A6, c.B6), nil),
		filter.NewSources(nil, single(c.A4, c.A6)),
		filter.NewSources(prefixes("0.0.0.0/0"), single(c.B4)),
		filter.NewSources(prefixes("10.0.0.0/8", "::/0"), prefixes("10.1.0.0/16", "fd02::/64")),
		filter.NewSources(single(node.A4, node.B6), nil),
		filter.NewSources(node.PodCIDRs, nil),
		filter.Nobody(),
		nil,
	} {
		n.admit(t, s, n.frontends()...)
		n.wantAdmitted(t, beside)
	}
	n.onNode1(t, func() error {
		state, err := n.table.Read(t.Context())
		if err == nil && (!state.Intact || !state.Rules.Equal(n.rules)) {
			t.Errorf("in the end there is %+v, want %v", state, n.rules)
		}
		return err
	})
}

func TestFrontendsWithOneListPartFromIt(t *testing.T) {
	n := newNetwork(t)
	beside := n.pod(t, n.Node1, "beside")
	office := filter.NewSources(single(n.Client.A4, n.Client.A6, n.Client.B4, n.Client.B6), nil)
	n.admit(t, office, n.frontends()...)
	n.admit(t, filter.Nobody(), n.frontends()[0])
	n.admit(t, nil, n.frontends()[7])
	n.wantAdmitted(t, beside)
}

// Who is in the list has still to be on the right side of an internal frontend.
func TestAListOpensNoInternalFrontend(t *testing.T) {
	n := newNetwork(t)
	want := n.rules.Clone()
	want.Internal = filter.NewSet(n.frontends()...)
	n.apply(t, want)
	n.admit(t, filter.NewSources(prefixes("0.0.0.0/0", "::/0"), nil), n.frontends()...)
	n.wantDropped(t)
	for _, key := range n.frontends() {
		n.wantClients(t, n.Node1, key, n.towards(key)...)
	}
}

func TestAConnectionLivesOnWhenItsClientIsShutOut(t *testing.T) {
	n := newNetwork(t)
	beside := n.pod(t, n.Node1, "beside")
	open := map[frontend.Key]net.Conn{}
	for _, key := range n.frontends() {
		c, err := n.Client.Dial(t.Context(), key.Protocol.String(), key.AddrPort())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		open[key] = c
	}
	for _, s := range []*filter.Sources{nil, filter.NewSources(single(n.Node1.A4), nil), filter.Nobody()} {
		n.admit(t, s, n.frontends()...)
		for key, c := range open {
			if _, err := topo.AskOn(c); err != nil {
				t.Errorf("%s: a connection from before: %v", key, err)
			}
		}
	}
	n.wantAdmitted(t, beside)
}

// counted is a ruleset of somebody else that counts what comes to the node port before and behind our input chain. IPVS
// takes packets at 98 and 99.
const counted = `table inet count {
	chain before { type filter hook input priority -10; meta l4proto { tcp, udp } th dport 30080 ct state new counter comment "before"; }
	chain behind { type filter hook input priority 50; meta l4proto { tcp, udp } th dport 30080 counter comment "behind"; }
	chain untrack { type filter hook prerouting priority raw; udp dport 30080 ip saddr 10.2.0.0/24 notrack; }
}
`

// passed reads those counters.
func (n *network) passed(t *testing.T) (before, behind int) {
	t.Helper()
	out, err := n.Node1.Command(t.Context(), "nft", "list", "table", "inet", "count").CombinedOutput()
	if err != nil {
		t.Fatalf("nft: %v\n%s", err, out)
	}
	for _, match := range regexp.MustCompile(`counter packets (\d+) bytes \d+ comment "(\w+)"`).FindAllStringSubmatch(string(out), -1) {
		packets, err := strconv.Atoi(match[1])
		if err != nil {
			t.Fatal(err)
		}
		if match[2] == "before" {
			before = packets
		} else {
			behind = packets
		}
	}
	return before, behind
}

// knocking sends what opens connections, from the first packet on, until its context ends.
func (n *network) knocking(ctx context.Context, all *sync.WaitGroup, key frontend.Key) {
	all.Go(func() {
		for ctx.Err() == nil {
			soon, cancel := context.WithTimeout(ctx, 5*time.Millisecond)
			if c, err := n.Client.Dial(soon, key.Protocol.String(), key.AddrPort()); err == nil {
				_, _ = c.Write([]byte("who\n"))
				<-soon.Done() // one packet in so many milliseconds, for either protocol
				_ = c.Close()
			}
			cancel()
		}
	})
}

func TestNoPacketOfADeniedClientGetsThroughWhileItsListIsReplaced(t *testing.T) {
	n := newNetwork(t)
	keys := n.frontends()
	one := filter.NewSources(single(n.Node1.A4, n.Node1.A6), nil)
	n.admit(t, one, keys...)
	nft := n.Node1.Command(t.Context(), "nft", "-f", "-")
	nft.Stdin = strings.NewReader(counted)
	if out, err := nft.CombinedOutput(); err != nil {
		t.Fatalf("nft: %v\n%s", err, out)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for _, key := range []frontend.Key{keys[0], keys[1], keys[4], keys[6]} { // TCP and UDP, tracked and not, IPv4 and IPv6
		n.knocking(ctx, &all, key)
	}
	lists := []*filter.Sources{filter.NewSources(nil, single(n.Client.A4, n.Client.B4, n.Client.A6, n.Client.B6)), filter.Nobody(), one}
	replaced := 0
	for before := 0; (before < 1000 || replaced < 15) && t.Context().Err() == nil; before, _ = n.passed(t) {
		n.admit(t, lists[replaced%len(lists)], keys...)
		replaced++
	}
	cancel()
	all.Wait()
	before, behind := n.passed(t)
	t.Logf("%d packets came, the list was replaced %d times", before, replaced)
	if behind > 0 {
		t.Errorf("%d packets passed", behind)
	}

	// Who is admitted passes and is counted: had the others passed, it would have been seen.
	n.admit(t, nil, keys...)
	for _, key := range keys {
		if key.Protocol != frontend.TCP {
			continue
		}
		_, seen := n.passed(t)
		if _, err := topo.Ask(t.Context(), n.Client, topo.TCP, key.AddrPort()); err != nil {
			t.Error(err)
		}
		if _, now := n.passed(t); now == seen {
			t.Errorf("%s: who is admitted is not counted as having passed", key)
		}
	}
}
