package filter

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/knftables"
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

func FuzzListing(f *testing.F) {
	f.Add([]byte(printed))
	f.Add([]byte(`{"nftables": [{"map": {"name": "masquerade-ipv4-tcp", "elem": [["alone"]]}}]}`))
	f.Fuzz(func(_ *testing.T, text []byte) {
		if l, err := parseListing(text); err == nil {
			l.state(match{}) // must not panic
		}
	})
}
