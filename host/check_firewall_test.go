package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// listRuleset is nft with a ruleset of testdata/firewall. Those with a .nft file beside them are what nft 1.0.6 says of it;
// docker and kube-proxy were written by iptables-nft 1.8.9.
func listRuleset(t *testing.T, name string) Runner {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "firewall", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	return func(_ context.Context, name string, args ...string) (string, error) {
		if got := strings.Join(append([]string{name}, args...), " "); got != "nft -j list ruleset" {
			t.Errorf("ran %q", got)
		}
		return string(text), nil
	}
}

func servingBoth() []netip.Addr {
	return []netip.Addr{netip.MustParseAddr("10.1.0.10"), netip.MustParseAddr("10.2.0.10"), netip.MustParseAddr("fd01::10")}
}

func defaultNodePorts() frontend.PortRange { return frontend.PortRange{First: 30000, Last: 32767} }

func TestFirewallsAreNamedWithTheRuleThatOpensThem(t *testing.T) {
	const open = "none drops node ports"
	both, only4 := servingBoth(), servingBoth()[:1]
	for _, c := range []struct {
		ruleset string
		serving []netip.Addr
		want    []expect
	}{
		{"open", both, []expect{{OK, "at input, output and forward: 3, " + open, ""}}},
		{"policy-drop", both, []expect{
			{Warn, "hook forward, policy drop: it accepts established connections only where", "nft 'insert rule ip fw forward ct state established,related accept'"},
			{
				Warn, "drops new connections (udp) to ports 30000-32767 of 10.2.0.10",
				"nft 'insert rule ip fw input ip daddr { 10.2.0.10 } meta l4proto { tcp, udp, sctp } th dport 30000-32767 accept'",
			},
		}},
		{"policy-drop", both[2:], []expect{{OK, "at input, output and forward: 2, " + open, ""}}}, // a table of IPv4
		{"last-rule-rejects", both, []expect{
			{Fail, "hook forward, policy accept: it drops the answers of pods", "insert rule inet fw forward ct state"},
			{
				Warn, "(tcp, udp) to ports 30000-32767 of 10.2.0.10, fd01::10",
				"nft 'insert rule inet fw input ip daddr { 10.2.0.10 } meta l4proto { tcp, udp, sctp } th dport 30000-32767 accept; " +
					"insert rule inet fw input ip6 daddr { fd01::10 } meta l4proto",
			},
			{
				Fail, "hook output, policy drop: it drops requests for 10.1.0.10, 10.2.0.10, fd01::10 on their way to pods",
				"nft 'insert rule inet fw output ct original ip daddr { 10.1.0.10, 10.2.0.10 } accept; " +
					"insert rule inet fw output ct original ip6 daddr { fd01::10 } accept'",
			},
		}},
		{"last-rule-rejects", only4, []expect{{Fail, "hook output", "insert rule inet fw output ct original ip daddr { 10.1.0.10 } accept'"}}},
		{"last-rule-rejects", nil, []expect{{Fail, "drops the answers of pods", "insert rule inet fw forward"}}},
		{"for-some-clients", both, []expect{
			{Warn, "only where a rule asks for more", "insert rule inet fw forward ct state"},
			{OK, "depends on the port, the client or more", ""},
		}},
		{"docker", only4, []expect{
			{Warn, "hook forward, policy drop", "iptables -I FORWARD -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT (only where iptables is not used: nft"},
			{Warn, "hook input, policy drop", "iptables -I INPUT -d 10.1.0.10 -p tcp --dport 30000:32767 -j ACCEPT && iptables -I INPUT -d 10.1.0.10 -p udp"},
		}},
		{"kube-proxy", both, []expect{{OK, "at input, output and forward: 2, " + open, ""}}},
	} {
		items := CheckFirewalls(t.Context(), listRuleset(t, c.ruleset), fstest.MapFS{}, "inet kube-ipvs", c.serving, defaultNodePorts())
		wantItems(t, items, c.want...)
	}
}

func TestAFirewallIsNamedByItsChain(t *testing.T) {
	items := CheckFirewalls(t.Context(), listRuleset(t, "docker"), fstest.MapFS{}, "inet kube-ipvs", servingBoth(), defaultNodePorts())
	if got, want := items[0].Name, "firewall ip filter FORWARD"; got != want {
		t.Errorf("have %q, want %q", got, want)
	}
}

func TestFirewalldIsOpenedInItsOwnWords(t *testing.T) {
	text := `{"nftables": [{"chain": {"family": "inet", "table": "firewalld", "name": "filter_INPUT", "type": "filter", "hook": "input", "policy": "accept"}},
		{"rule": {"family": "inet", "table": "firewalld", "chain": "filter_INPUT", "expr": [{"reject": {"type": "icmpx", "expr": "admin-prohibited"}}]}}]}`
	items := CheckFirewalls(t.Context(), func(context.Context, string, ...string) (string, error) { return text, nil },
		fstest.MapFS{}, "inet kube-ipvs", servingBoth(), defaultNodePorts())
	wantItems(t, items, expect{Warn, "hook input", "firewall-cmd --permanent --add-port=30000-32767/tcp"})
}

// An operator may have told the API server another range: it is this one that has to be open.
func TestFirewallsAreJudgedByTheRangeOfTheAPIServer(t *testing.T) {
	ruleset := func(first, last int) Runner {
		text := fmt.Sprintf(`{"nftables": [{"chain": {"family": "inet", "table": "fw", "name": "input", "type": "filter", "hook": "input", "policy": "drop"}},
			{"rule": {"family": "inet", "table": "fw", "chain": "input", "expr": [
				{"match": {"op": "==", "left": {"payload": {"protocol": "th", "field": "dport"}}, "right": {"range": [%d, %d]}}}, {"accept": null}]}}]}`, first, last)
		return func(context.Context, string, ...string) (string, error) { return text, nil }
	}
	check := func(run Runner) []Item {
		return CheckFirewalls(t.Context(), run, fstest.MapFS{"net/ip_tables_names": {Data: []byte("filter\n")}}, "", servingBoth()[:1], frontend.PortRange{First: 20000, Last: 20999})
	}
	legacy := expect{Warn, "INPUT the ports 20000-20999", "iptables-legacy -S"}
	wantItems(t, check(ruleset(20000, 20999)), legacy)
	wantItems(t, check(ruleset(30000, 32767)), expect{Warn, "to ports 20000-20999 of 10.1.0.10", "th dport 20000-20999 accept"}, legacy)
}

// Whoever leaves a chain by a condition that check cannot judge may pass: that is a warning, and fails nothing.
func TestRulesThatLetSomeLeaveAreMilder(t *testing.T) {
	const (
		mark   = `{"match": {"op": "==", "left": {"meta": {"key": "mark"}}, "right": 1}}`
		hidden = `{"xt": {"type": "match", "name": "conntrack"}}`
		byName = `{"vmap": {"key": {"ct": {"key": "state"}}, "data": "@states"}}`
	)
	for name, c := range map[string]struct {
		rules []string
		want  expect
	}{
		"drop":                     {[]string{`{"drop": null}`}, expect{Fail, "drops the answers", ""}},
		"return by a mark":         {[]string{mark + `, {"return": null}`, `{"drop": null}`}, expect{Warn, "", ""}},
		"return by a hidden match": {[]string{hidden + `, {"return": null}`, `{"drop": null}`}, expect{Warn, "", ""}},
		"goto by a mark":           {[]string{mark + `, {"goto": {"target": "other"}}`, `{"drop": null}`}, expect{Warn, "", ""}},
		"jump by a mark":           {[]string{mark + `, {"jump": {"target": "other"}}`, `{"drop": null}`}, expect{Fail, "", ""}},
		"a map by name":            {[]string{byName, `{"drop": null}`}, expect{Warn, "", ""}},
	} {
		t.Run(name, func(t *testing.T) {
			text := `{"nftables": [{"chain": {"family": "ip", "table": "fw", "name": "forward", "type": "filter", "hook": "forward", "policy": "accept"}},
				{"chain": {"family": "ip", "table": "fw", "name": "other"}}`
			for _, r := range c.rules {
				text += `, {"rule": {"family": "ip", "table": "fw", "chain": "forward", "expr": [` + r + `]}}`
			}
			run := func(context.Context, string, ...string) (string, error) { return text + "]}", nil }
			wantItems(t, CheckFirewalls(t.Context(), run, fstest.MapFS{}, "inet kube-ipvs", servingBoth(), defaultNodePorts()), c.want)
		})
	}
}

func TestLegacyFilterTablesAreNamed(t *testing.T) {
	run := listRuleset(t, "open")
	proc := fstest.MapFS{
		"net/ip_tables_names":  {Data: []byte("nat\nfilter\n")},
		"net/ip6_tables_names": {Data: []byte("nat\n")},
	}
	wantItems(t, CheckFirewalls(t.Context(), run, proc, "", servingBoth(), defaultNodePorts()),
		expect{Warn, "cannot be seen from here", "look: iptables-legacy -S FORWARD; iptables-legacy -S INPUT"})
	proc["net/ip6_tables_names"] = &fstest.MapFile{Data: []byte("filter\n")}
	wantItems(t, CheckFirewalls(t.Context(), run, proc, "", servingBoth(), defaultNodePorts()),
		expect{Warn, "", "iptables-legacy -S"}, expect{Warn, "", "ip6tables-legacy -S INPUT"})
}

func TestARulesetThatCannotBeReadIsAWarning(t *testing.T) {
	for _, run := range []Runner{
		func(context.Context, string, ...string) (string, error) { return "", errors.New("not allowed") },
		func(context.Context, string, ...string) (string, error) { return "not allowed", nil },
	} {
		wantItems(t, CheckFirewalls(t.Context(), run, fstest.MapFS{}, "", servingBoth(), defaultNodePorts()), expect{Warn, "", ""})
	}
}

// manyWays is a ruleset whose chains each jump to the next one by several rules.
func manyWays(rules int) string {
	text := `{"nftables": [{"chain": {"family": "inet", "table": "fw", "name": "0", "type": "filter", "hook": "forward", "policy": "drop"}}`
	for i := 1; i <= mostJumps; i++ {
		text += fmt.Sprintf(`, {"chain": {"family": "inet", "table": "fw", "name": "%d"}}`, i)
		text += strings.Repeat(fmt.Sprintf(`, {"rule": {"family": "inet", "table": "fw", "chain": "%d", "expr": [{"jump": {"target": "%d"}}]}}`, i-1, i), rules)
	}
	return text + "]}"
}

func TestChainsWithManyWaysThroughThemAreWalkedAtOnce(t *testing.T) {
	judged := make(chan []Item, 1)
	go func() {
		run := func(context.Context, string, ...string) (string, error) { return manyWays(8), nil }
		judged <- CheckFirewalls(t.Context(), run, fstest.MapFS{}, "inet kube-ipvs", servingBoth(), defaultNodePorts())
	}()
	select {
	case items := <-judged:
		wantItems(t, items, expect{Fail, "drops the answers of pods", ""})
	case <-time.After(30 * time.Second): // 8^16 ways would take years
		t.Fatal("each way is walked")
	}
}

// FuzzFirewallsAreJudgedWhateverNFTSays takes any ruleset: who reads what is said of it sees which chain is meant, and, where something is
// wrong, what to do.
func FuzzFirewallsAreJudgedWhateverNFTSays(f *testing.F) {
	files, err := filepath.Glob("testdata/firewall/*.json")
	if err != nil || len(files) == 0 {
		f.Fatal(files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Add(manyWays(3))
	f.Fuzz(func(t *testing.T, text string) {
		run := func(context.Context, string, ...string) (string, error) { return text, nil }
		items := CheckFirewalls(t.Context(), run, fstest.MapFS{}, "inet kube-ipvs", servingBoth(), defaultNodePorts())
		if len(items) == 0 || !json.Valid([]byte(text)) && (len(items) > 1 || items[0].Status != Warn) {
			t.Errorf("%q is judged as %+v", text, items)
		}
		for _, i := range items {
			about := strings.TrimPrefix(i.Name, "firewall ")
			if i.Status < OK || i.Status > Fail || i.Name != "host firewall" && (about == i.Name || i.Detail == "" || (i.Status == OK) != (i.Mend == "")) {
				t.Errorf("%q is judged as %+v", text, i)
			}
		}
	})
}
