//go:build kernel && linux

package observe_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/kube-ipvs/kube-ipvs/e2e/bench/observe"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
	"github.com/kube-ipvs/kube-ipvs/frontend"
)

func TestEverythingInNftablesIsSeenWithTheCommitThatHasItAll(t *testing.T) {
	for _, family := range []string{"ip", "ip6"} {
		t.Run(family, func(t *testing.T) {
			node := newNode(t)
			o := open(t, observe.Nftables, node)
			const services, endpoints = 20, 3
			s := newRules(family, services, endpoints)

			seen := complete(t, o, s.want())
			apply(t, node, s.base())
			apply(t, node, s.service(0, endpoints, "")+s.mapped(0))
			for i := 1; i < services; i++ {
				apply(t, node, s.service(i, endpoints-1, "")+s.mapped(i))
			}
			stillWaiting(t, seen)
			var all strings.Builder
			for i := range services {
				all.WriteString(s.service(i, endpoints, "flush"))
			}
			// As many as wanted, but one of them is another; and other generations, for not everything is read with each.
			wanted, other := s.endpoint(5, 1).Addr().String(), s.addresses()[0].String()
			apply(t, node, strings.ReplaceAll(all.String(), " "+wanted+" ", " "+other+" "))
			for i := range 10 {
				apply(t, node, fmt.Sprintf("add table ip6 others%d", i))
			}
			stillWaiting(t, seen)
			begin := time.Now()
			apply(t, node, all.String())
			end := time.Now()
			apply(t, node, "add table ip6 others") // nobody's business, but another generation

			got := <-seen
			if got.err != nil {
				t.Fatal(got.err)
			}
			t.Logf("seen %v before the end of nft, precision %v", end.Sub(got.at), got.precision)
			if got.at.Before(begin) || got.at.Add(-got.precision).After(end) {
				t.Errorf("seen %v after the begin, %v before the end of nft, with precision %v", got.at.Sub(begin), end.Sub(got.at), got.precision)
			}
		})
	}
}

func TestAnEndpointMoreInNftablesIsSeenWithItsCommit(t *testing.T) {
	for _, family := range []string{"ip", "ip6"} {
		t.Run(family, func(t *testing.T) {
			node := newNode(t)
			o := open(t, observe.Nftables, node)
			s := newRules(family, 3, 10)
			apply(t, node, s.base()+s.service(0, 1, "")+s.mapped(0)+s.service(1, 3, "")+s.mapped(1)+s.service(2, 3, "")+s.mapped(2))
			for _, c := range []struct{ service, endpoints int }{{0, 2}, {1, 4}, {1, 5}, {0, 1}, {0, 3}} {
				key, fresh := s.keys(c.service)[1], s.endpoint(c.service, c.endpoints-1)
				wait, err := o.Prepare(key, fresh)
				if c.endpoints == 1 {
					if err == nil {
						t.Fatalf("%s is there, and can be waited for", fresh)
					}
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				apply(t, node, s.service(2, 2, "flush")) // another one's change
				begin := time.Now()
				apply(t, node, s.service(c.service, c.endpoints, "flush"))
				end := time.Now()
				at, err := wait(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				t.Logf("%d of service %d: %v before the end of nft", c.endpoints, c.service, end.Sub(at))
				if at.Before(begin) || at.After(end.Add(100*time.Millisecond)) {
					t.Errorf("seen %v after the begin and %v before the end of nft", at.Sub(begin), end.Sub(at))
				}
			}
		})
	}
}

func TestManyChangesOfNftablesAreWaitedForAtOnce(t *testing.T) {
	node := newNode(t)
	o := open(t, observe.Nftables, node)
	const services = 50
	s := newRules("ip", services, 3)
	var first, second strings.Builder
	first.WriteString(s.base())
	for i := range services {
		first.WriteString(s.service(i, 2, "") + s.mapped(i))
		second.WriteString(s.service(i, 3, "flush"))
	}
	apply(t, node, first.String())
	var waits []func(context.Context) (time.Time, error)
	for i := range services {
		wait, err := o.Prepare(s.keys(i)[0], s.endpoint(i, 2))
		if err != nil {
			t.Fatal(err)
		}
		waits = append(waits, wait)
	}
	apply(t, node, second.String())
	times := map[time.Time]bool{}
	for _, wait := range waits {
		at, err := wait(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		times[at] = true
	}
	if len(times) != 1 {
		t.Errorf("one commit was seen at %d times", len(times))
	}
}

func TestWhatNftablesLacksIsSaid(t *testing.T) {
	node := newNode(t)
	o := open(t, observe.Nftables, node)
	s := newRules("ip", 2, 3)
	// The first lacks one of the addresses, the second its node port.
	apply(t, node, s.base()+"delete element ip kube-proxy nodeport-ips { 10.2.0.10 }\n"+s.service(0, 3, "")+s.mapped(0)+s.service(1, 3, ""))
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, _, err := o.Complete(ctx, s.want())
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "3 of 4 frontends") {
		t.Errorf("%v, but 3 of 4 frontends lack something", err)
	}
	wait, err := o.Prepare(s.keys(0)[0], netip.MustParseAddrPort("192.0.2.1:1"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, but nothing came", err)
	}
}

// rules writes what kube-proxy 1.37 writes.
type rules struct {
	family    string // ip, ip6
	services  int
	endpoints int
}

func newRules(family string, services, endpoints int) rules {
	return rules{family, services, endpoints}
}

func (r rules) addresses() []netip.Addr {
	if r.family == "ip" {
		return []netip.Addr{netip.MustParseAddr("10.1.0.10"), netip.MustParseAddr("10.2.0.10")}
	}
	return []netip.Addr{netip.MustParseAddr("fd01::10"), netip.MustParseAddr("fd02::10")}
}

func (r rules) keys(i int) []frontend.Key {
	var keys []frontend.Key
	for _, a := range r.addresses() {
		keys = append(keys, frontend.NewKey(a, frontend.TCP, uint16(30000+i)))
	}
	return keys
}

func (r rules) endpoint(i, j int) netip.AddrPort {
	a := netip.AddrFrom4([4]byte{10, byte(160 + j), byte(i >> 8), byte(i)})
	if r.family == "ip6" {
		a = netip.MustParseAddr(fmt.Sprintf("fd44:%x::%x", j+1, i+1))
	}
	return netip.AddrPortFrom(a, 8080)
}

func (r rules) want() observe.Want {
	w := observe.Want{}
	for i := range r.services {
		for _, key := range r.keys(i) {
			for j := range r.endpoints {
				w[key] = append(w[key], r.endpoint(i, j))
			}
		}
	}
	return w
}

func (r rules) name(i int) string { return fmt.Sprintf("ULMVA6XW-bench/service-%04d/tcp/", i) }

func (r rules) base() string {
	t, a := r.family+" kube-proxy", r.addresses()
	return fmt.Sprintf("add table %s\nadd map %s service-nodeports { type inet_proto . inet_service : verdict ; }\n", t, t) +
		fmt.Sprintf("add set %s nodeport-ips { type %s ; }\nadd element %s nodeport-ips { %s, %s }\n",
			t, map[string]string{"ip": "ipv4_addr", "ip6": "ipv6_addr"}[r.family], t, a[0], a[1]) +
		fmt.Sprintf("add chain %s masquerading\n", t)
}

func (r rules) mapped(i int) string {
	return fmt.Sprintf("add element %s kube-proxy service-nodeports { tcp . %d : goto external-%s }\n", r.family, 30000+i, r.name(i))
}

// service writes the chains of a Service; with "flush" anew.
func (r rules) service(i, endpoints int, flush string) string {
	t := r.family + " kube-proxy"
	var b strings.Builder
	for _, chain := range []string{"service-", "external-"} {
		fmt.Fprintf(&b, "add chain %s %s%s\n", t, chain, r.name(i))
		if flush != "" {
			fmt.Fprintf(&b, "flush chain %s %s%s\n", t, chain, r.name(i))
		}
	}
	fmt.Fprintf(&b, "add rule %s external-%s jump masquerading\nadd rule %s external-%s goto service-%s\n", t, r.name(i), t, r.name(i), r.name(i))
	if endpoints == 1 {
		fmt.Fprintf(&b, "add rule %s service-%s meta l4proto tcp dnat to %s\n", t, r.name(i), r.endpoint(i, 0))
		return b.String()
	}
	var elements []string
	for j := range endpoints {
		e := r.endpoint(i, j)
		elements = append(elements, fmt.Sprintf("%d : %s . %d", j, e.Addr(), e.Port()))
	}
	fmt.Fprintf(&b, "add rule %s service-%s meta l4proto tcp dnat %s addr . port to numgen random mod %d map { %s }\n",
		t, r.name(i), r.family, endpoints, strings.Join(elements, ", "))
	return b.String()
}

func apply(t testing.TB, node *topo.Host, rules string) {
	t.Helper()
	c := node.Command(t.Context(), "nft", "-f", "-")
	c.Stdin = strings.NewReader(rules)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("nft: %v: %s", err, out)
	}
}

// BenchmarkCompleteNftables1000x10 is how long nft takes, with nobody there, with an observer that waits for everything, and with one that
// waits for a change, in another order each time; and how the time that the first one gives stands to the end of nft.
func BenchmarkCompleteNftables1000x10(b *testing.B) {
	const services, endpoints = 1000, 10
	s := newRules("ip", services, endpoints)
	var all strings.Builder
	all.WriteString(s.base())
	for i := range services {
		all.WriteString(s.service(i, endpoints, "") + s.mapped(i))
	}
	write := func(node *topo.Host) time.Duration {
		begin := time.Now()
		apply(b, node, all.String())
		return time.Since(begin)
	}
	ways := []func(*topo.Host){
		func(node *topo.Host) { b.Logf("alone %v", write(node)) },
		func(node *topo.Host) {
			o := open(b, observe.Nftables, node)
			apply(b, node, s.base()+s.service(0, 1, "")+s.mapped(0))
			if _, err := o.Prepare(s.keys(0)[0], s.endpoint(0, 1)); err != nil {
				b.Fatal(err)
			}
			apply(b, node, "delete table ip kube-proxy")
			b.Logf("heard %v", write(node))
		},
		func(node *topo.Host) {
			seen, begin := complete(b, open(b, observe.Nftables, node), s.want()), time.Now()
			took := write(node)
			end := begin.Add(took)
			got := <-seen
			b.Logf("observed %v: seen %v before the end, precision %v, said %v after the end (%v)",
				took, end.Sub(got.at), got.precision, time.Since(end), got.err)
		},
	}
	for round := 0; b.Loop(); round++ {
		network, err := topo.New(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		for i, node := range []*topo.Host{network.Client, network.Node1, network.Node2} {
			ways[(round+i)%len(ways)](node)
			apply(b, node, "flush ruleset")
		}
		if err := network.Close(); err != nil {
			b.Error(err)
		}
	}
}
