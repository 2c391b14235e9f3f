package host

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// proxyRules are the node ports that kube-proxy's rules of one family serve. They are to be seen wherever the network
// namespace is, and its process is not.
type proxyRules struct {
	mode      string // nftables or iptables
	is4       bool
	all       bool         // every address of the node
	addresses []netip.Addr // else these
}

// serves reports whether the rules answer on node ports of an address.
func (p proxyRules) serves(a netip.Addr) bool {
	return p.is4 == a.Is4() && (p.all || slices.Contains(p.addresses, a))
}

// checkProxyRules judges kube-proxy by its rules. There is no item where there are none.
func checkProxyRules(ctx context.Context, run Runner, serving []netip.Addr) []Item {
	var items []Item
	rules := readProxyRules(ctx, run)
	for _, mode := range []string{"nftables", "iptables"} {
		var of []proxyRules
		for _, r := range rules {
			if r.mode == mode {
				of = append(of, r)
			}
		}
		if len(of) == 0 {
			continue
		}
		clash := slices.DeleteFunc(slices.Clone(serving), func(a netip.Addr) bool {
			return !slices.ContainsFunc(of, func(r proxyRules) bool { return r.serves(a) })
		})
		i := Item{Name: "rules of kube-proxy", Status: OK, Detail: "mode " + mode + ": they leave the node ports of our addresses alone"}
		if len(clash) > 0 {
			i.Status, i.Detail = Warn, fmt.Sprintf("mode %s: they answer on node ports of %s as well", mode, joinAddrs(clash))
			i.Mend = "start kube-proxy with --nodeport-addresses=" + strings.Join(loopbackCIDRs(), ",") +
				" (in its configuration file: nodePortAddresses); if it is gone: kube-proxy --cleanup"
		}
		items = append(items, i)
	}
	return items
}

// readProxyRules asks nft. What it cannot list is not there; CheckNFT has said so if nft itself is the reason.
func readProxyRules(ctx context.Context, run Runner) []proxyRules {
	var all []proxyRules
	for _, family := range []string{"ip", "ip6"} {
		if out, err := run(ctx, "nft", "-j", "list", "sets", "table", family, "kube-proxy"); err == nil {
			all = append(all, nftablesRules(family, out))
		}
		if out, err := run(ctx, "nft", "-j", "list", "chain", family, "nat", "KUBE-SERVICES"); err == nil {
			all = append(all, iptablesRules(family, out))
		}
	}
	return all
}

// nftablesRules takes the set nodeport-ips, which kube-proxy deletes where it serves all addresses (1.37).
func nftablesRules(family, text string) proxyRules {
	r := proxyRules{mode: "nftables", is4: family == "ip", all: true}
	var doc struct {
		Objects []struct {
			Set *struct {
				Name string
				Elem []any
			}
		} `json:"nftables"`
	}
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		return r // better a warning too many
	}
	for _, o := range doc.Objects {
		if o.Set == nil || o.Set.Name != "nodeport-ips" {
			continue
		}
		r.all = false
		for _, e := range o.Set.Elem {
			if a, err := netip.ParseAddr(fmt.Sprint(e)); err == nil {
				r.addresses = append(r.addresses, a)
			}
		}
	}
	return r
}

// iptablesRules takes the jumps to KUBE-NODEPORTS: one for each address, or one for all that are local (1.37).
func iptablesRules(family, text string) proxyRules {
	r := proxyRules{mode: "iptables", is4: family == "ip"}
	rs, err := parseRuleset(text)
	if err != nil {
		r.all = true
		return r
	}
	c := rs.chains[chainID{family, "nat", "KUBE-SERVICES"}]
	if c == nil {
		return r
	}
	for _, rule := range c.rules {
		if a, jumps := nodePortJump(rule); jumps {
			r.all = r.all || !a.IsValid()
			r.addresses = append(r.addresses, a)
		}
	}
	return r
}

// nodePortJump returns the address for which a rule jumps to KUBE-NODEPORTS, an invalid one for all.
func nodePortJump(r rule) (a netip.Addr, jumps bool) {
	for _, statement := range r {
		if jump, is := statement["jump"].(map[string]any); is && jump["target"] == "KUBE-NODEPORTS" {
			jumps = true
		}
		match, is := statement["match"].(map[string]any)
		if !is || match["op"] != "==" {
			continue
		}
		if text, is := match["right"].(string); is {
			if to, err := netip.ParseAddr(text); err == nil {
				a = to
			}
		}
	}
	return a, jumps
}
