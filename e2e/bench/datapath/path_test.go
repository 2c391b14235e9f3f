package datapath

import (
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// listing is what nft lists of two tables and of the one that marks packets.
const listing = `{"nftables": [
{"metainfo": {"version": "1.0.6", "json_schema_version": 1}},
{"table": {"family": "inet", "name": "web", "handle": 1}},
{"chain": {"family": "inet", "table": "web", "name": "input", "handle": 1, "type": "filter", "hook": "input", "prio": 0, "policy": "accept"}},
{"chain": {"family": "inet", "table": "web", "name": "allowed", "handle": 2}},
{"chain": {"family": "inet", "table": "web", "name": "empty", "handle": 3}},
{"rule": {"family": "inet", "table": "web", "chain": "input", "handle": 4, "expr": []}},
{"rule": {"family": "inet", "table": "web", "chain": "input", "handle": 9, "expr": []}},
{"rule": {"family": "inet", "table": "web", "chain": "input", "handle": 6, "expr": []}},
{"rule": {"family": "inet", "table": "web", "chain": "allowed", "handle": 7, "expr": []}},
{"rule": {"family": "inet", "table": "web", "chain": "allowed", "handle": 8, "expr": []}},
{"chain": {"family": "ip", "table": "web", "name": "postrouting", "handle": 1, "type": "nat", "hook": "postrouting", "prio": 100, "policy": "accept"}},
{"rule": {"family": "ip", "table": "web", "chain": "postrouting", "handle": 2, "expr": [{"masquerade": null}]}},
{"chain": {"family": "inet", "table": "kube-ipvs-bench", "name": "first", "handle": 1, "type": "filter", "hook": "prerouting", "prio": -450, "policy": "accept"}},
{"rule": {"family": "inet", "table": "kube-ipvs-bench", "chain": "first", "handle": 11, "expr": []}},
{"rule": {"family": "inet", "table": "kube-ipvs-bench", "chain": "first", "handle": 12, "expr": []}},
{"rule": {"family": "inet", "table": "kube-ipvs-bench", "chain": "first", "handle": 13, "expr": []}},
{"rule": {"family": "inet", "table": "kube-ipvs-bench", "chain": "first", "handle": 14, "expr": []}}
]}`

var (
	input       = chainID{unix.NFPROTO_INET, "web", "input"}
	allowed     = chainID{unix.NFPROTO_INET, "web", "allowed"}
	empty       = chainID{unix.NFPROTO_INET, "web", "empty"}
	postrouting = chainID{unix.NFPROTO_IPV4, "web", "postrouting"}
	first       = chainID{unix.NFPROTO_INET, traceTable, "first"}
)

// Verdicts of netfilter (NF_DROP and NF_ACCEPT).
const (
	dropped  = 0
	accepted = 1
)

// Events as the kernel sends them.
func matched(c chainID, rule uint64, verdict int32, to string) event {
	return event{unix.NFT_TRACETYPE_RULE, c, rule, verdict, to}
}

func returned(c chainID, rule uint64) event {
	return event{unix.NFT_TRACETYPE_RETURN, c, rule, unix.NFT_RETURN, ""}
}

func ended(c chainID) event { return event{unix.NFT_TRACETYPE_RETURN, c, 0, unix.NFT_CONTINUE, ""} }

func policy(c chainID) event { return event{unix.NFT_TRACETYPE_POLICY, c, 0, accepted, ""} }

func known(t *testing.T) ruleset {
	t.Helper()
	rules, err := parseRuleset([]byte(listing))
	if err != nil {
		t.Fatal(err)
	}
	return rules
}

func TestAPacketPassesTheRulesThatItWasLookedUpIn(t *testing.T) {
	for name, c := range map[string]struct {
		events []event
		want   passage
	}{
		"nothing on the way": {nil, passage{0, 0}},
		"no rule matches": {
			[]event{ended(input), policy(input)}, passage{1, 3},
		},
		"a rule accepts and the others are not seen": {
			[]event{matched(input, 9, accepted, "")}, passage{1, 2},
		},
		"a rule drops": {
			[]event{matched(input, 4, dropped, "")}, passage{1, 1},
		},
		"a rule that only counts": {
			[]event{matched(input, 4, unix.NFT_CONTINUE, ""), matched(input, 6, accepted, "")}, passage{1, 3},
		},
		"a chain that is jumped to, to its end, and the rest of the first": {
			[]event{matched(input, 4, unix.NFT_JUMP, "allowed"), ended(allowed), ended(input), policy(input)}, passage{1, 5},
		},
		"a chain that is left early": {
			[]event{matched(input, 9, unix.NFT_JUMP, "allowed"), returned(allowed, 7), ended(input), policy(input)}, passage{1, 4},
		},
		"a chain without rules": {
			[]event{matched(input, 9, unix.NFT_JUMP, "empty"), ended(empty), matched(input, 6, accepted, "")}, passage{1, 3},
		},
		"a chain that is gone to, which does not come back": {
			[]event{matched(input, 4, unix.NFT_GOTO, "allowed"), ended(allowed), policy(input)}, passage{1, 3},
		},
		"a chain that is gone to from one that was jumped to": {
			[]event{
				matched(input, 4, unix.NFT_JUMP, "allowed"), matched(allowed, 7, unix.NFT_GOTO, "empty"), ended(empty),
				ended(input), policy(input),
			}, passage{1, 4},
		},
		"two base chains": {
			[]event{ended(input), policy(input), matched(postrouting, 2, accepted, "")}, passage{2, 4},
		},
		"the same chain twice": {
			[]event{ended(input), policy(input), ended(input), policy(input)}, passage{2, 6},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := follow(known(t), c.events)
			if err != nil || got != c.want {
				t.Errorf("%+v %v, want %+v", got, err, c.want)
			}
		})
	}
}

func TestATraceThatTheRulesetDoesNotExplainIsAnError(t *testing.T) {
	for name, events := range map[string][]event{
		"an unknown chain":            {ended(chainID{unix.NFPROTO_INET, "web", "other"})},
		"an unknown rule":             {matched(input, 5, accepted, "")},
		"a rule that was passed":      {matched(input, 9, unix.NFT_CONTINUE, ""), matched(input, 4, accepted, "")},
		"a chain nobody jumped to":    {matched(input, 4, unix.NFT_CONTINUE, ""), ended(allowed)},
		"lost events of a packet":     {matched(input, 4, unix.NFT_JUMP, "allowed")},
		"a base chain without an end": {ended(input), ended(postrouting)},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := follow(known(t), events); err == nil {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestEventsBelongToThePacketThatWasMarkedBeforeThem(t *testing.T) {
	mark := func(rule uint64) []event {
		return []event{matched(first, rule, unix.NFT_CONTINUE, ""), ended(first), policy(first)}
	}
	var events []event
	for i, rest := range [][]event{{ended(input), policy(input), matched(postrouting, 2, accepted, "")}, nil, {ended(input), policy(input)}, nil} {
		events = append(append(events, mark(uint64(11+i))...), rest...)
	}
	packets, err := split(known(t), events)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []int{3, 0, 2, 0} {
		if len(packets[i]) != want {
			t.Errorf("packet %d has %d events, want %d", i+1, len(packets[i]), want)
		}
	}
	for name, wrong := range map[string][]event{
		"a packet is missing":     append(append(mark(11), mark(12)...), mark(14)...),
		"no answer":               append(append(mark(11), mark(12)...), mark(13)...),
		"another order":           slices.Concat(mark(11), mark(12), mark(14), mark(13)),
		"a packet was repeated":   slices.Concat(mark(11), mark(11), mark(13), mark(14)),
		"one packet too many":     slices.Concat(events, mark(13)),
		"somebody else's tracing": slices.Concat([]event{ended(input)}, events),
	} {
		if packets, err := split(known(t), wrong); err == nil {
			t.Errorf("%s: %v", name, packets)
		}
	}
}

func TestAnEventIsReadAsTheKernelSendsIt(t *testing.T) {
	text := func(kind int, s string) *nl.RtAttr { return nl.NewRtAttr(kind, nl.ZeroTerminated(s)) }
	verdict := nl.NewRtAttr(unix.NFTA_TRACE_VERDICT|unix.NLA_F_NESTED, nil)
	verdict.AddRtAttr(unix.NFTA_VERDICT_CODE, []byte{0xff, 0xff, 0xff, 0xfd})
	verdict.AddRtAttr(unix.NFTA_VERDICT_CHAIN, nl.ZeroTerminated("allowed"))
	message := []byte{unix.NFPROTO_INET, 0, 0, 0}
	for _, a := range []*nl.RtAttr{
		nl.NewRtAttr(unix.NFTA_TRACE_ID, []byte{1, 2, 3, 4}), text(unix.NFTA_TRACE_TABLE, "web"), text(unix.NFTA_TRACE_CHAIN, "input"),
		nl.NewRtAttr(unix.NFTA_TRACE_RULE_HANDLE, []byte{0, 0, 0, 0, 0, 0, 0, 4}),
		nl.NewRtAttr(unix.NFTA_TRACE_TYPE, []byte{0, 0, 0, unix.NFT_TRACETYPE_RULE}), verdict,
	} {
		message = append(message, a.Serialize()...)
	}
	if got, err := parseEvent(message); err != nil || got != matched(input, 4, unix.NFT_JUMP, "allowed") {
		t.Errorf("%+v %v", got, err)
	}
	for _, short := range [][]byte{nil, message[:3], message[:len(message)-1]} {
		if got, err := parseEvent(short); err == nil {
			t.Errorf("%d bytes of a message: %+v", len(short), got)
		}
	}
}

func TestARulesetThatIsNoneIsAnError(t *testing.T) {
	if rules, err := parseRuleset([]byte(strings.TrimSuffix(listing, "}"))); err == nil {
		t.Error(rules)
	}
}
