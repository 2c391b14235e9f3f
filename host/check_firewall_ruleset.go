package host

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// ruleset is what `nft -j list ruleset` says of chains and rules.
type ruleset struct {
	base   []chainID // the chains of type filter that have a hook
	chains map[chainID]*chain
	// nodePorts is what has to be open at input.
	nodePorts frontend.PortRange
}

// chainID is "ip filter FORWARD", with ip, ip6, inet, bridge and so on for the family.
type chainID struct{ family, table, name string }

func (c chainID) String() string { return c.family + " " + c.table + " " + c.name }

type chain struct {
	hook   string // "" for a chain that is only jumped to
	policy string
	rules  []rule
}

// rule is a list of statements; each has one key, its name.
type rule []map[string]any

// parseRuleset reads the JSON of nft. What is neither chain nor rule is passed over.
func parseRuleset(text string) (*ruleset, error) {
	var doc struct {
		Objects []struct {
			Chain *struct{ Family, Table, Name, Type, Hook, Policy string }
			Rule  *struct {
				Family, Table, Chain string
				Expr                 rule
			}
		} `json:"nftables"`
	}
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		return nil, fmt.Errorf("read the ruleset: %w", err)
	}
	rs := &ruleset{chains: map[chainID]*chain{}}
	for _, o := range doc.Objects {
		if c := o.Chain; c != nil {
			id := chainID{c.Family, c.Table, c.Name}
			rs.chains[id] = &chain{hook: c.Hook, policy: c.Policy}
			if c.Type == "filter" && c.Hook != "" {
				rs.base = append(rs.base, id)
			}
		}
		// nft lists the chains of a table before its rules.
		if r := o.Rule; r != nil {
			if c := rs.chains[chainID{r.Family, r.Table, r.Chain}]; c != nil {
				c.rules = append(c.rules, r.Expr)
			}
		}
	}
	return rs, nil
}

// keptByIPTables reports whether a chain is one of iptables-nft's, which refuses to list or save a chain with a rule that
// it did not write ("chain `FORWARD' in table `filter' is incompatible, use 'nft' tool", 1.8.9). It writes what nft has
// no words for as xt; the names and their case are its own.
func (rs *ruleset) keptByIPTables(id chainID) bool {
	if id.family == "inet" {
		return false
	}
	if id.table == "filter" && strings.EqualFold(id.name, rs.chains[id].hook) && id.name == strings.ToUpper(id.name) {
		return true
	}
	for other, c := range rs.chains {
		if other.family != id.family || other.table != id.table {
			continue
		}
		for _, r := range c.rules {
			for _, statement := range r {
				if _, xt := statement["xt"]; xt {
					return true
				}
			}
		}
	}
	return false
}
