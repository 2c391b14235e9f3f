//go:build kernel

package filter_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/frontend"
)

const (
	nodePort = 30080
	requests = 4
)

// network is a node that serves a node port on all its addresses, with a pod on each node behind it.
type network struct {
	*topo.Topology
	web1, web2 *topo.Pod
	table      *filter.Table
	rules      filter.Rules
}

// newNetwork makes a virtual server for every address and protocol, masqueraded, with web-1 beside the node's own bridge
// and web-2 on the other node.
func newNetwork(t *testing.T) *network {
	t.Helper()
	top, err := topo.New(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := top.Close(); err != nil {
			t.Error(err)
		}
	})
	n := &network{Topology: top, rules: filter.Rules{
		Owned: filter.Set{}, Masquerade: map[frontend.Key]filter.Masquerade{}, Pods: filter.NormalPrefixes(top.Node1.PodCIDRs),
	}}
	n.web1, n.web2 = n.pod(t, n.Node1, "web-1"), n.pod(t, n.Node2, "web-2")
	var commands strings.Builder
	for _, key := range n.frontends() {
		n.rules.Owned[key] = struct{}{}
		n.rules.Masquerade[key] = filter.MasqueradeAll
		fmt.Fprintf(&commands, "-A %s -s rr\n", ipvsadm(key))
		for _, pod := range []*topo.Pod{n.web1, n.web2} {
			fmt.Fprintf(&commands, "-a %s -r %s -m\n", ipvsadm(key), server(key, pod))
		}
	}
	n.ipvsadm(t, commands.String())
	if err := n.Node1.Sysctl("net.ipv4.vs.conntrack", "1"); err != nil {
		t.Fatal(err)
	}
	n.onNode1(t, func() error {
		n.table, err = filter.Open(filter.Options{})
		if err != nil {
			return err
		}
		return n.table.Replace(t.Context(), n.rules)
	})
	return n
}

// apply changes the table.
func (n *network) apply(t *testing.T, want filter.Rules) {
	t.Helper()
	n.onNode1(t, func() error { return n.table.Apply(t.Context(), filter.Diff(n.rules, want)) })
	n.rules = want
}

// masquerade changes it for all frontends.
func (n *network) masquerade(t *testing.T, m filter.Masquerade) {
	t.Helper()
	want := n.rules.Clone()
	for _, key := range n.frontends() {
		want.Masquerade[key] = m
	}
	n.apply(t, want)
}

func (n *network) pod(t *testing.T, node *topo.Host, name string) *topo.Pod {
	t.Helper()
	pod, err := n.AddPod(t.Context(), node, name, topo.WithSCTP())
	if err != nil {
		t.Fatal(err)
	}
	return pod
}

func (n *network) frontends() []frontend.Key {
	var list []frontend.Key
	for _, addr := range []netip.Addr{n.Node1.A4, n.Node1.B4, n.Node1.A6, n.Node1.B6} {
		for _, protocol := range frontend.Protocols() {
			list = append(list, frontend.NewKey(addr, protocol, nodePort))
		}
	}
	return list
}

func (n *network) onNode1(t *testing.T, f func() error) {
	t.Helper()
	if err := n.Node1.Do(f); err != nil {
		t.Fatal(err)
	}
}

func (n *network) ipvsadm(t *testing.T, commands string) {
	t.Helper()
	cmd := n.Node1.Command(t.Context(), "ipvsadm", "-R")
	cmd.Stdin = strings.NewReader(commands)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("ipvsadm: %v\n%s", err, out)
	}
}

// ipvsadm is the virtual server of a frontend in ipvsadm's words.
func ipvsadm(key frontend.Key) string {
	flags := map[frontend.Protocol]string{frontend.TCP: "-t", frontend.UDP: "-u", frontend.SCTP: "--sctp-service"}
	return flags[key.Protocol] + " " + key.AddrPort().String()
}

func server(key frontend.Key, pod *topo.Pod) netip.AddrPort {
	if key.Addr.Is4() {
		return netip.AddrPortFrom(pod.Addr4, topo.Port)
	}
	return netip.AddrPortFrom(pod.Addr6, topo.Port)
}

// wantClients asks a frontend and compares the client addresses that the pods saw.
func (n *network) wantClients(t *testing.T, from *topo.Host, key frontend.Key, want ...netip.Addr) {
	t.Helper()
	tally := topo.Count(t.Context(), from, key.Protocol.String(), key.AddrPort(), requests)
	if tally.Answers() != requests {
		t.Errorf("%s from %s: %v", key, from.Name, tally)
		return
	}
	for client := range tally.Clients {
		if !contains(want, client) {
			t.Errorf("%s from %s: a pod saw %s, want %v only", key, from.Name, client, want)
		}
	}
	if len(tally.Clients) != len(want) {
		t.Errorf("%s from %s: the pods saw %v, want %v", key, from.Name, tally.Clients, want)
	}
}

func contains(addrs []netip.Addr, addr netip.Addr) bool {
	for _, a := range addrs {
		if a == addr {
			return true
		}
	}
	return false
}

// towards has the node's addresses on the routes to web-1 and web-2: what masqueraded clients look like to them.
func (n *network) towards(key frontend.Key) []netip.Addr {
	if key.Addr.Is4() {
		return []netip.Addr{n.Node1.PodCIDRs[0].Addr().Next(), n.Node1.A4}
	}
	return []netip.Addr{n.Node1.PodCIDRs[1].Addr().Next(), n.Node1.A6}
}

// client is the address with which the client reaches a frontend.
func (n *network) client(key frontend.Key) netip.Addr {
	return map[netip.Addr]netip.Addr{
		n.Node1.A4: n.Client.A4, n.Node1.B4: n.Client.B4, n.Node1.A6: n.Client.A6, n.Node1.B6: n.Client.B6,
	}[key.Addr]
}

func TestAllClientsOfAFrontendAreMasqueraded(t *testing.T) {
	n := newNetwork(t)
	for _, key := range n.frontends() {
		n.wantClients(t, n.Client, key, n.towards(key)...)
	}
	beside := n.pod(t, n.Node1, "beside")
	for _, from := range []*topo.Host{beside.Host, n.web1.Host, n.Node1} {
		for _, key := range n.frontends()[:3] {
			n.wantClients(t, from, key, n.towards(key)...)
		}
	}
}

// The port is the same everywhere: address, family and protocol decide.
func TestOtherFrontendsKeepTheClientsAddress(t *testing.T) {
	n := newNetwork(t)
	var commands strings.Builder // the other node's pod cannot answer a client that it has no route to
	for _, key := range n.frontends() {
		fmt.Fprintf(&commands, "-d %s -r %s\n", ipvsadm(key), server(key, n.web2))
	}
	n.ipvsadm(t, commands.String())
	for i, alone := range n.frontends() {
		if i%4 != 0 { // a few of them: each protocol and family is alone once
			continue
		}
		want := n.rules.Clone()
		want.Masquerade = map[frontend.Key]filter.Masquerade{alone: filter.MasqueradeAll}
		n.apply(t, want)
		for _, key := range n.frontends() {
			if key == alone {
				n.wantClients(t, n.Client, key, n.towards(key)[0])
			} else {
				n.wantClients(t, n.Client, key, n.client(key))
			}
		}
	}
}

// options are the ways to tell the pods of node 1.
func options() []filter.Options {
	return []filter.Options{{}, {PodInterface: topo.DevPods}, {PodInterface: topo.DevPods[:2] + "*"}}
}

// reopen makes the table tell pods in another way.
func (n *network) reopen(t *testing.T, o filter.Options) {
	t.Helper()
	n.onNode1(t, func() (err error) {
		if n.table, err = filter.Open(o); err != nil {
			return err
		}
		return n.table.Replace(t.Context(), n.rules)
	})
}

// only leaves one pod behind all frontends.
func (n *network) only(t *testing.T, pod *topo.Pod) {
	t.Helper()
	gone := map[*topo.Pod]*topo.Pod{n.web1: n.web2, n.web2: n.web1}[pod]
	var commands strings.Builder
	for _, key := range n.frontends() {
		fmt.Fprintf(&commands, "-d %s -r %s\n", ipvsadm(key), server(key, gone))
	}
	n.ipvsadm(t, commands.String())
}

func TestOnlyClientsThatArePodsAreMasqueraded(t *testing.T) {
	n := newNetwork(t)
	beside := n.pod(t, n.Node1, "beside")
	n.only(t, n.web1)
	n.masquerade(t, filter.MasqueradePods)
	for _, o := range options() {
		n.reopen(t, o)
		for _, key := range n.frontends() {
			n.wantClients(t, n.Client, key, n.client(key))
			n.wantClients(t, beside.Host, key, n.towards(key)[0])
			n.wantClients(t, n.web1.Host, key, n.towards(key)[0])
		}
	}
}

func TestClientsOfAPodElsewhereAreMasqueraded(t *testing.T) {
	n := newNetwork(t)
	beside := n.pod(t, n.Node1, "beside")
	n.masquerade(t, filter.MasqueradeRemote)
	for _, o := range options() {
		n.reopen(t, o)
		for _, key := range n.frontends() {
			n.wantClients(t, n.Client, key, n.client(key), n.towards(key)[1])
			n.wantClients(t, beside.Host, key, n.towards(key)...)
		}
	}
}

// The node itself, its pods, and connections that are there already are let in; a new one from outside is not.
func TestAnInternalFrontendDropsNewConnectionsFromOutside(t *testing.T) {
	n := newNetwork(t)
	beside := n.pod(t, n.Node1, "beside")
	var open []net.Conn
	for _, key := range n.frontends() {
		c, err := n.Client.Dial(t.Context(), key.Protocol.String(), key.AddrPort())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := topo.AskOn(c); err != nil {
			t.Fatalf("%s: %v", key, err)
		}
		open = append(open, c)
	}
	want := n.rules.Clone()
	want.Internal = filter.NewSet(n.frontends()...)
	n.apply(t, want)
	for _, o := range options() {
		n.reopen(t, o)
		for i, key := range n.frontends() {
			for _, from := range []*topo.Host{beside.Host, n.web1.Host, n.Node1} {
				n.wantClients(t, from, key, n.towards(key)...)
			}
			if _, err := topo.AskOn(open[i]); err != nil {
				t.Errorf("%s: a connection from before: %v", key, err)
			}
		}
		n.wantDropped(t)
	}
}

// wantDropped asks all frontends from outside at once: what is dropped takes as long as one waits.
func (n *network) wantDropped(t *testing.T) {
	t.Helper()
	var all sync.WaitGroup
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	for _, key := range n.frontends() {
		all.Go(func() {
			answer, err := topo.Ask(ctx, n.Client, key.Protocol.String(), key.AddrPort())
			if late, ok := errors.AsType[net.Error](err); !ok || !late.Timeout() {
				t.Errorf("%s from outside: %v, %v; want no answer at all", key, answer, err)
			}
		})
	}
	all.Wait()
}

// An upgrade replaces the table, and a repair too: what is connected must not notice, and what connects meanwhile must
// be masqueraded.
func TestReplacingTheTableUnderLoadFailsNoRequest(t *testing.T) {
	n := newNetwork(t)
	key := n.frontends()[0]
	load := &topo.Load{From: n.Client, To: key.AddrPort(), Workers: 4}
	load.Start(t.Context())
	replaced := 0
	for load.Tally().Answers() < 200 {
		n.onNode1(t, func() error { return n.table.Replace(t.Context(), n.rules) })
		replaced++
		if tally := load.Tally(); len(tally.Failures) > 0 || t.Context().Err() != nil {
			break
		}
	}
	tally := load.Stop()
	t.Logf("%d replacements: %v, %v", replaced, tally, tally.Clients)
	if len(tally.Failures) > 0 {
		t.Errorf("%v", tally)
	}
	for client := range tally.Clients {
		if !contains(n.towards(key), client) {
			t.Errorf("a pod saw %s", client)
		}
	}
}
