package datapath

import (
	"context"
	"encoding/json"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
)

// readRuleset reads the ruleset of a host.
func readRuleset(ctx context.Context, host *topo.Host) (ruleset, error) {
	out, err := host.Command(ctx, "nft", "-a", "-j", "list", "ruleset").Output()
	if err != nil {
		return nil, fmt.Errorf("nft list ruleset on %s: %w", host.Name, err)
	}
	rules, err := parseRuleset(out)
	if err != nil {
		return nil, fmt.Errorf("ruleset of %s: %w", host.Name, err)
	}
	return rules, nil
}

// parseRuleset reads nft's JSON.
func parseRuleset(b []byte) (ruleset, error) {
	type object struct {
		Family, Table, Name, Chain string
		Handle                     uint64
	}
	var listing struct {
		Nftables []struct{ Chain, Rule *object }
	}
	if err := json.Unmarshal(b, &listing); err != nil {
		return nil, err
	}
	rules := ruleset{}
	for _, o := range listing.Nftables {
		switch {
		case o.Chain != nil:
			id := chainID{familyNumber(o.Chain.Family), o.Chain.Table, o.Chain.Name}
			rules[id] = append(rules[id], []uint64{}...) // there, though it may have no rules
		case o.Rule != nil:
			id := chainID{familyNumber(o.Rule.Family), o.Rule.Table, o.Rule.Chain}
			rules[id] = append(rules[id], o.Rule.Handle)
		}
	}
	return rules, nil
}

// familyNumber is that of a family's name; 0 is one that no packet of a node port passes.
func familyNumber(name string) uint8 {
	return map[string]uint8{
		"inet": unix.NFPROTO_INET, "ip": unix.NFPROTO_IPV4, "ip6": unix.NFPROTO_IPV6, "netdev": unix.NFPROTO_NETDEV, "bridge": unix.NFPROTO_BRIDGE,
	}[name]
}
