package filter

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/knftables"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// As nft 1.0.6 prints it.
const printed = `{"nftables": [{"metainfo": {"version": "1.0.6", "release_name": "Lester Gooch #5", "json_schema_version": 1}},
{"table": {"family": "inet", "name": "kube-ipvs", "handle": 3}},
{"chain": {"family": "inet", "table": "kube-ipvs", "name": "postrouting", "handle": 20}},
{"set": {"family": "inet", "name": "owned-ipv4", "table": "kube-ipvs", "type": ["ipv4_addr", "inet_proto", "inet_service"], "handle": 1,
  "elem": [{"concat": ["10.1.0.10", "tcp", 30080]}, {"elem": {"val": {"concat": ["10.1.0.10", 132, 30081]}, "comment": "mine"}}]}},
{"set": {"family": "inet", "name": "pods-ipv4", "table": "kube-ipvs", "type": "ipv4_addr", "flags": ["interval"],
  "elem": ["10.0.0.1", {"prefix": {"addr": "10.244.1.0", "len": 24}}, {"range": ["10.9.0.1", "10.9.0.7"]}]}},
{"set": {"family": "inet", "name": "pods-ipv6", "table": "kube-ipvs", "type": "ipv6_addr", "flags": ["interval"]}},
{"map": {"family": "inet", "name": "masquerade-ipv4-tcp", "table": "kube-ipvs", "type": ["ipv4_addr", "inet_service"], "map": "verdict",
  "elem": [[{"concat": ["10.1.0.10", 30080]}, {"goto": {"target": "masquerade-all"}}], [{"concat": ["10.1.0.10", 30081]}, {"drop": null}], "odd"]}},
{"rule": {"family": "inet", "table": "kube-ipvs", "chain": "postrouting", "handle": 21, "comment": "layout 2", "expr": []}},
{"rule": {"family": "inet", "table": "kube-ipvs", "chain": "postrouting", "handle": 22, "expr": [{"accept": null}]}}]}`

func TestAListingIsReadAsNftPrintsIt(t *testing.T) {
	got, err := parseListing([]byte(printed))
	if err != nil {
		t.Fatal(err)
	}
	var elements []string
	for _, name := range []string{"owned-ipv4", "pods-ipv4", "pods-ipv6", "masquerade-ipv4-tcp"} {
		for _, e := range got.elements[name] {
			elements = append(elements, name+" { "+strings.Join(e.Key, " . ")+" : "+strings.Join(e.Value, " ")+" }")
		}
	}
	want := []string{
		"owned-ipv4 { 10.1.0.10 . tcp . 30080 :  }", "owned-ipv4 { 10.1.0.10 . 132 . 30081 :  }",
		"pods-ipv4 { 10.0.0.1 :  }", "pods-ipv4 { 10.244.1.0/24 :  }", "pods-ipv4 { map[range:[10.9.0.1 10.9.0.7]] :  }",
		"masquerade-ipv4-tcp { 10.1.0.10 . 30080 : goto masquerade-all }", "masquerade-ipv4-tcp { 10.1.0.10 . 30081 : drop }",
		"masquerade-ipv4-tcp {  :  }",
	}
	if diff := cmp.Diff(want, elements); diff != "" {
		t.Errorf("elements (-want +got):\n%s", diff)
	}
	types := map[string]string{"owned-ipv4": "set", "pods-ipv4": "set", "pods-ipv6": "set", "masquerade-ipv4-tcp": "map"}
	if diff := cmp.Diff(types, got.types); diff != "" {
		t.Errorf("types (-want +got):\n%s", diff)
	}
	rules := []*knftables.Rule{{Chain: "postrouting", Comment: knftables.PtrTo("layout 2")}, {Chain: "postrouting"}}
	if diff := cmp.Diff(rules, got.rules); diff != "" || !got.present {
		t.Errorf("present %v, rules (-want +got):\n%s", got.present, diff)
	}
}

func TestWhatCannotBeReadOfAListingIsNamed(t *testing.T) {
	l, err := parseListing([]byte(printed))
	if err != nil {
		t.Fatal(err)
	}
	stray := strings.Join(l.state(match{}).Stray, "\n")
	for _, want := range []string{"pods-ipv4: map[range:", `masquerade-ipv4-tcp: 10.1.0.10 . 30081: unknown verdict "drop"`, "masquerade-ipv4-tcp: : not an element"} {
		if !strings.Contains(stray, want) {
			t.Errorf("not among the stray elements: %s\n%s", want, stray)
		}
	}
	if _, err := parseListing([]byte("{")); err == nil {
		t.Error("half a listing is accepted")
	}
}

// As nft 1.0.6 prints a list. Its rule is the one it is to have; the map sends packets elsewhere too.
const printedList = `{"nftables": [{"metainfo": {"version": "1.0.6", "release_name": "Lester Gooch #5", "json_schema_version": 1}},
{"table": {"family": "inet", "name": "kube-ipvs", "handle": 3}},
{"map": {"family": "inet", "name": "sources-ipv4", "table": "kube-ipvs", "type": ["ipv4_addr", "inet_proto", "inet_service"], "handle": 10, "map": "verdict",
  "elem": [[{"concat": ["10.1.0.10", "tcp", 30080]}, {"jump": {"target": "sources-ID"}}],
    [{"concat": ["10.1.0.10", "icmp", 1]}, {"jump": {"target": "sources-ID"}}], [{"concat": ["10.1.0.10", "udp", 30080]}, {"accept": null}]]}},
{"chain": {"family": "inet", "table": "kube-ipvs", "name": "sources-ID", "handle": 24}},
{"set": {"family": "inet", "name": "deny-ID-ipv4", "table": "kube-ipvs", "type": "ipv4_addr", "handle": 25, "flags": ["interval"],
  "elem": ["10.9.0.1", {"prefix": {"addr": "10.244.1.0", "len": 24}}]}},
{"set": {"family": "inet", "name": "deny-ID-ipv6", "table": "kube-ipvs", "type": "ipv6_addr", "handle": 26, "flags": ["interval"],
  "elem": [{"prefix": {"addr": "::", "len": 0}}]}},
{"rule": {"family": "inet", "table": "kube-ipvs", "chain": "sources-ID", "handle": 27, "comment": "layout 5, denied, ipv4",
  "expr": [{"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": "@deny-ID-ipv4"}}, {"drop": null}]}},
{"rule": {"family": "inet", "table": "kube-ipvs", "chain": "sources-ID", "handle": 28, "comment": "layout 5, denied, ipv6",
  "expr": [{"match": {"op": "==", "left": {"payload": {"protocol": "ip6", "field": "saddr"}}, "right": "@deny-ID-ipv6"}}, {"drop": null}]}}]}`

func TestAListIsReadAsNftPrintsIt(t *testing.T) {
	var deny []netip.Prefix
	for _, text := range []string{"10.9.0.1/32", "10.244.1.0/24", "::/0"} {
		deny = append(deny, netip.MustParsePrefix(text))
	}
	s := NewSources(nil, deny)
	l, err := parseListing([]byte(strings.ReplaceAll(printedList, "ID", s.ID())))
	if err != nil {
		t.Fatal(err)
	}
	addr := netip.MustParseAddr("10.1.0.10")
	want := Rules{Sources: map[frontend.Key]*Sources{
		frontend.NewKey(addr, frontend.TCP, 30080): s, frontend.NewKey(addr, frontend.UDP, 30080): Nobody(),
	}}
	state := l.state(match{})
	if !state.Rules.Equal(want) {
		t.Errorf("rules are %v, want %v", state.Rules, want)
	}
	if got := strings.Join(state.Stray, "\n"); !strings.HasPrefix(got, "sources-ipv4: 10.1.0.10 . icmp . 1: unknown protocol") {
		t.Errorf("stray: %s", got)
	}
	state.Intact = true
	if lists := l.readLists(&state); !state.Intact || len(lists) != 1 {
		t.Errorf("intact %v, lists %v", state.Intact, lists)
	}
}
