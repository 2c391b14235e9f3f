//go:build kernel

package filter_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// heard is a ruleset of somebody else that counts what comes to the node port and what goes on to a pod.
var heard = fmt.Sprintf(`table inet count {
	chain before { type filter hook input priority -10; meta l4proto { tcp, udp } th dport %d ct state new counter comment "before"; }
	chain behind { type filter hook postrouting priority 0; meta l4proto { tcp, udp } th dport %d counter comment "behind"; }
}
`, nodePort, topo.Port)

func (n *network) nft(t *testing.T, script string) {
	t.Helper()
	cmd := n.Node1.Command(t.Context(), "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("nft: %v\n%s", err, out)
	}
}

// serve makes virtual servers, unserve deletes them.
func (n *network) serve(t *testing.T, keys []frontend.Key) {
	t.Helper()
	var commands strings.Builder
	for _, key := range keys {
		fmt.Fprintf(&commands, "-A %s -s rr\n-a %[1]s -r %s -m\n", ipvsadm(key), server(key, n.web1))
	}
	n.ipvsadm(t, commands.String())
}

func (n *network) unserve(t *testing.T, keys []frontend.Key) {
	t.Helper()
	var commands strings.Builder
	for _, key := range keys {
		fmt.Fprintf(&commands, "-D %s\n", ipvsadm(key))
	}
	n.ipvsadm(t, commands.String())
}

// internal makes frontends internal, and no others.
func (n *network) internal(t *testing.T, keys ...frontend.Key) {
	t.Helper()
	want := n.rules.Clone()
	want.Internal = filter.NewSet(keys...)
	n.apply(t, want)
}

// The frontends come with the hooks that keep a client out, as the agent makes them: rules, then virtual servers, and the other
// way round. While others need hooks and do not, those that are there go on keeping it out.
func TestNoDeniedClientIsHeardWhileHooksComeAndGo(t *testing.T) {
	n := newNetwork(t)
	keys := n.frontends()
	shut, other := []frontend.Key{keys[0], keys[1], keys[4], keys[6]}, keys[2] // TCP and UDP, IPv4 and IPv6
	list := filter.NewSources(single(n.Node1.A4, n.Node1.A6), nil)
	n.unserve(t, shut)
	n.nft(t, heard)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var all sync.WaitGroup
	for _, key := range shut {
		n.knocking(ctx, &all, key)
	}
	rounds := 0
	for before := 0; (before < 1000 || rounds < 4) && t.Context().Err() == nil; before, _ = n.passed(t) {
		restrict := func() { n.admit(t, list, shut...) }
		release := func() { n.admit(t, nil, shut...) }
		if rounds%2 == 1 {
			restrict, release = func() { n.internal(t, shut...) }, func() { n.internal(t) }
		}
		restrict()
		n.serve(t, shut)
		n.admit(t, list, other) // output comes, or stays
		n.admit(t, nil, other)
		n.unserve(t, shut)
		release()
		if hooks := n.rules.Hooks(); hooks != (filter.Hooks{}) {
			t.Fatalf("hooks %+v are left", hooks)
		}
		rounds++
	}
	before, behind := n.passed(t)
	t.Logf("%d packets came, the hooks came and went %d times", before, rounds)
	if behind > 0 {
		t.Errorf("%d packets went on to a pod", behind)
	}
	n.onNode1(t, func() error {
		state, err := n.table.Read(t.Context())
		if err == nil && (!state.Intact || !state.Rules.Equal(n.rules)) {
			t.Errorf("in the end there is %+v, want %v", state, n.rules)
		}
		return err
	})
	n.serve(t, shut) // whoever knocked is heard now, so the others were not for nothing
	for deadline := time.Now().Add(30 * time.Second); behind == 0 && time.Now().Before(deadline); {
		_, behind = n.passed(t)
	}
	if behind == 0 {
		t.Error("nobody is heard where everybody may connect")
	}
	cancel()
	all.Wait()
}

// hooks are those that the kernel has.
func (n *network) hooks(t *testing.T) filter.Hooks {
	t.Helper()
	out, err := n.Node1.Command(t.Context(), "nft", "list", "table", "inet", filter.Name).CombinedOutput()
	if err != nil {
		t.Fatalf("nft: %v\n%s", err, out)
	}
	return filter.Hooks{Input: strings.Contains(string(out), "hook input"), Output: strings.Contains(string(out), "hook output")}
}

// What is connected while no hook is there lives on when one comes: it is of a connection then as well.
func TestAConnectionFromBeforeTheHooksLivesOn(t *testing.T) {
	n := newNetwork(t)
	key := n.frontends()[0]
	c, err := n.Client.Dial(t.Context(), key.Protocol.String(), key.AddrPort())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ask := func(want filter.Hooks) {
		t.Helper()
		if got := n.hooks(t); got != want {
			t.Errorf("hooks %+v, want %+v", got, want)
		}
		if _, err := topo.AskOn(c); err != nil {
			t.Errorf("with hooks %+v: %v", want, err)
		}
	}
	ask(filter.Hooks{})
	n.internal(t, key)
	ask(filter.Hooks{Input: true})
	n.admit(t, filter.Nobody(), key)
	ask(filter.Hooks{Input: true, Output: true})
	if err := knock(t.Context(), n.Client, key, false); err != nil {
		t.Errorf("a new connection: %v", err)
	}
	n.internal(t)
	n.admit(t, nil, key)
	ask(filter.Hooks{})
	if err := knock(t.Context(), n.Client, key, true); err != nil {
		t.Errorf("a new connection in the end: %v", err)
	}
}
