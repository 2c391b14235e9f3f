package host

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

// input is a ruleset of one chain at hook input and one, rest, that it can jump to. A rule is "CHAIN: STATEMENTS" as in JSON.
func input(t *testing.T, policy string, rules ...string) (*ruleset, chainID) {
	t.Helper()
	objects := []string{
		fmt.Sprintf(`{"chain": {"family": "inet", "table": "fw", "name": "input", "type": "filter", "hook": "input", "policy": %q}}`, policy),
		`{"chain": {"family": "inet", "table": "fw", "name": "rest"}}`,
	}
	for _, r := range rules {
		name, statements, _ := strings.Cut(r, ": ")
		objects = append(objects, fmt.Sprintf(`{"rule": {"family": "inet", "table": "fw", "chain": %q, "expr": [%s]}}`, name, statements))
	}
	rs, err := parseRuleset(`{"nftables": [` + strings.Join(objects, ", ") + `]}`)
	if err != nil {
		t.Fatal(err)
	}
	return rs, chainID{"inet", "fw", "input"}
}

// dport is a match of destination ports, one or a range.
func dport(ports string) string {
	return `{"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": ` + ports + `}}`
}

func TestChainsAreWalkedAsTheKernelWalksThem(t *testing.T) {
	const (
		accept, drop, leave, jump = `{"accept": null}`, `{"drop": null}`, `{"return": null}`, `{"jump": {"target": "rest"}}`
		byState                   = `{"xt": {"type": "match", "name": "conntrack"}}, `
		asked                     = `{"match": {"op": "==", "left": {"ct": {"key": "ip daddr", "dir": "original"}}, "right": "10.9.9.9"}}, `
	)
	request := probe{
		family: "ip", state: "new", protocol: "tcp", to: netip.MustParseAddr("10.1.0.10"), ports: [2]float64{30000, 32767},
	}
	onItsWay := probe{family: "ip", state: "new", asked: netip.MustParseAddr("10.1.0.10")}
	for _, c := range []struct {
		name   string
		probe  probe
		policy string
		rules  []string
		want   verdict
	}{
		{"without a policy it accepts", request, "", nil, passes},
		{"return leaves the chain", request, "drop", []string{"input: " + jump, "rest: " + leave, "rest: " + accept}, drops},
		{"a jump comes back", request, "drop", []string{"input: " + jump, "input: " + accept}, passes},
		{"a goto does not", request, "drop", []string{`input: {"goto": {"target": "rest"}}`, "input: " + accept}, drops},
		{"what some packets jump to accepts", request, "drop", []string{"input: " + dport("30080") + ", " + jump, "rest: " + accept}, depends},
		{"what some packets jump to drops", request, "accept", []string{"input: " + dport("30080") + ", " + jump, "rest: " + drop}, passes},
		{"a program decides", request, "drop", []string{`input: {"queue": {"num": 0}}`}, depends},
		{"all ports", request, "drop", []string{"input: " + dport(`{"range": [30000, 32767]}`) + ", " + accept}, passes},
		{"the lower ports", request, "drop", []string{"input: " + dport(`{"range": [30000, 31000]}`) + ", " + accept}, depends},
		{"the first port", request, "drop", []string{"input: " + dport("30000") + ", " + accept}, depends},
		{"the last port", request, "drop", []string{"input: " + dport("32767") + ", " + accept}, depends},
		{"other ports", request, "drop", []string{"input: " + dport("32768") + ", " + accept, "input: " + dport("29999") + ", " + accept}, drops},
		{"who asked for another address", onItsWay, "drop", []string{"input: " + asked + accept}, drops},
		{"whatever was asked for", request, "drop", []string{"input: " + asked + accept}, depends},
		{"a state that nft does not show", request, "drop", []string{"input: " + byState + accept}, drops},
		{"nor does it show the address asked for", onItsWay, "drop", []string{"input: " + byState + accept}, depends},
		{"a state, and then dropped", request, "accept", []string{"input: " + byState + drop}, passes},
	} {
		t.Run(c.name, func(t *testing.T) {
			rs, id := input(t, c.policy, c.rules...)
			if got := rs.judge(id, c.probe); got != c.want {
				t.Errorf("verdict %d, want %d", got, c.want)
			}
		})
	}
}

func TestChainsOfOtherTypesAndWordsOfOtherProgramsAreLeftAlone(t *testing.T) {
	rs, err := parseRuleset(`{"nftables": [
		{"chain": {"family": "inet", "table": "filter", "name": "INPUT", "type": "filter", "hook": "input", "policy": "drop"}},
		{"chain": {"family": "inet", "table": "filter", "name": "OUTPUT", "type": "nat", "hook": "output", "policy": "accept"}},
		{"chain": {"family": "inet", "table": "firewalld", "name": "filter_FORWARD", "type": "filter", "hook": "forward", "policy": "drop"}}]}`)
	if err != nil {
		t.Fatal(err)
	}
	input, forward := chainID{"inet", "filter", "INPUT"}, chainID{"inet", "firewalld", "filter_FORWARD"}
	if len(rs.base) != 2 || rs.base[0] != input || rs.base[1] != forward {
		t.Errorf("judged: %v, want the chains of type filter", rs.base)
	}
	for _, id := range rs.base { // iptables has no table of both families, and firewall-cmd opens ports at input
		if got, want := rs.open(id, []string{"accept"}, []string{"-j ACCEPT"}), "nft 'insert rule "+id.String()+" accept'"; got != want {
			t.Errorf("%s is opened by %s, want %s", id, got, want)
		}
	}
}
