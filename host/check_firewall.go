package host

import (
	"context"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// CheckFirewalls names the chains of other tables that keep node ports from working, and the rules that open them. A packet
// has to be accepted by each base chain of its hook, so that no rule in a table of ours can do it. Own is our table ("inet
// NAME"), which is not judged; proc is /proc, serving are the addresses that serve, nodePorts is the API server's range.
//
// IPVS takes a request after the input hook, which sees the address and port that the client asked for. To a pod it goes on
// through the output hook, where it still is the first of its connection, and never through forward; there the pods'
// answers come by, which belong to an established connection.
func CheckFirewalls(ctx context.Context, run Runner, proc fs.FS, own string, serving []netip.Addr, nodePorts frontend.PortRange) []Item {
	const name = "host firewall"
	out, err := run(ctx, "nft", "-j", "list", "ruleset")
	if err != nil {
		return []Item{{Name: name, Status: Warn, Detail: err.Error()}}
	}
	rs, err := parseRuleset(out)
	if err != nil {
		return []Item{{Name: name, Status: Warn, Detail: err.Error()}}
	}
	rs.nodePorts = nodePorts
	var items []Item
	looked := 0
	for _, id := range rs.base {
		if id.family+" "+id.table == own {
			continue
		}
		var item Item
		switch rs.chains[id].hook {
		case "forward":
			item = rs.checkForward(id, serving)
		case "input":
			item = rs.checkInput(id, serving)
		case "output":
			item = rs.checkOutput(id, serving)
		default:
			continue
		}
		looked++
		if item.Status != 0 {
			item.Name = "firewall " + id.String()
			items = append(items, item)
		}
	}
	items = append(items, checkLegacy(proc, nodePorts)...)
	if len(items) == 0 {
		items = []Item{{Name: name, Status: OK, Detail: fmt.Sprintf("chains of others at input, output and forward: %d, none drops node ports", looked)}}
	}
	return items
}

// checkForward has no status if the pods' answers pass.
func (rs *ruleset) checkForward(id chainID, serving []netip.Addr) Item {
	worst := passes
	for _, family := range id.families(serving) {
		worst = max(worst, rs.judge(id, probe{family: family, state: "established"}))
	}
	const accept = "ct state established,related accept"
	i := Item{
		Detail: "hook forward" + rs.policy(id),
		Mend:   rs.open(id, []string{accept}, []string{"-m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT"}),
	}
	switch worst {
	case depends:
		i.Status = Warn
		i.Detail += ": it accepts established connections only where a rule asks for more than that; pods' answers that none accepts are dropped"
	case drops:
		i.Status = Fail
		i.Detail += ": it drops the answers of pods; only servers on this node's own addresses (hostNetwork) are heard"
	default:
		return Item{}
	}
	return i
}

// checkInput has no status if new connections to node ports pass.
func (rs *ruleset) checkInput(id chainID, serving []netip.Addr) Item {
	var protocols []string
	closed, some := rs.closed(id, serving, func(addr netip.Addr) verdict {
		worst := passes
		for _, protocol := range []string{"tcp", "udp"} { // who has SCTP knows it
			v := rs.judge(id, probe{
				family: familyOf(addr), state: "new", protocol: protocol, to: addr,
				ports: [2]float64{float64(rs.nodePorts.First), float64(rs.nodePorts.Last)},
			})
			if v == drops && !slices.Contains(protocols, protocol) {
				protocols = append(protocols, protocol)
			}
			worst = max(worst, v)
		}
		return worst
	})
	i := Item{Detail: "hook input" + rs.policy(id)}
	switch {
	case len(closed) > 0:
		i.Status = Warn
		i.Detail += fmt.Sprintf(": it drops new connections (%s) to ports %s of %s",
			strings.Join(protocols, ", "), rs.nodePorts, joinAddrs(closed))
		var iptables []string
		for _, addr := range closed {
			for _, protocol := range []string{"tcp", "udp", "sctp"} {
				iptables = append(iptables, fmt.Sprintf("-d %s -p %s --dport %d:%d -j ACCEPT", addr, protocol, rs.nodePorts.First, rs.nodePorts.Last))
			}
		}
		i.Mend = rs.open(id, byFamily(closed, fmt.Sprintf("%%[1]s daddr { %%[2]s } meta l4proto { tcp, udp, sctp } th dport %s accept", rs.nodePorts)), iptables)
	case some:
		i.Status = OK
		i.Detail += ": whether it lets a request for a node port pass depends on the port, the client or more"
	}
	return i
}

// checkOutput has no status if requests pass on their way to pods.
func (rs *ruleset) checkOutput(id chainID, serving []netip.Addr) Item {
	closed, some := rs.closed(id, serving, func(addr netip.Addr) verdict {
		return rs.judge(id, probe{family: familyOf(addr), state: "new", asked: addr})
	})
	i := Item{Detail: "hook output" + rs.policy(id)}
	switch {
	case len(closed) > 0:
		i.Status = Fail
		i.Detail += ": it drops requests for " + joinAddrs(closed) + " on their way to pods; only servers on this node's own addresses (hostNetwork) are reached"
		var iptables []string
		for _, addr := range closed {
			iptables = append(iptables, fmt.Sprintf("-m conntrack --ctorigdst %s -j ACCEPT", addr))
		}
		i.Mend = rs.open(id, byFamily(closed, "ct original %[1]s daddr { %[2]s } accept"), iptables)
	case some:
		i.Status = OK
		i.Detail += ": whether it lets a request pass on its way to a pod depends on the pod or more"
	}
	return i
}

// closed lists the serving addresses that a chain drops by the judgement of each; some is that it depends for others.
func (rs *ruleset) closed(id chainID, serving []netip.Addr, judge func(netip.Addr) verdict) (closed []netip.Addr, some bool) {
	for _, addr := range serving {
		if !slices.Contains(id.families(serving), familyOf(addr)) {
			continue
		}
		switch judge(addr) {
		case depends:
			some = true
		case drops:
			closed = append(closed, addr)
		}
	}
	return closed, some
}

// byFamily writes a rule for each family, from its name in nft and the addresses.
func byFamily(addrs []netip.Addr, format string) []string {
	var rules []string
	for _, family := range []string{"ip", "ip6"} {
		list := slices.DeleteFunc(slices.Clone(addrs), func(a netip.Addr) bool { return familyOf(a) != family })
		if len(list) > 0 {
			rules = append(rules, fmt.Sprintf(format, family, joinAddrs(list)))
		}
	}
	return rules
}

// families are those of the addresses that a chain sees; both where no address serves yet.
func (c chainID) families(serving []netip.Addr) []string {
	var out []string
	for _, family := range []string{"ip", "ip6"} {
		sees := c.family == family || c.family == "inet"
		serves := slices.ContainsFunc(serving, func(a netip.Addr) bool { return familyOf(a) == family })
		if sees && (serves || len(serving) == 0) {
			out = append(out, family)
		}
	}
	return out
}

func familyOf(a netip.Addr) string {
	if a.Is4() {
		return "ip"
	}
	return "ip6"
}

func (rs *ruleset) policy(id chainID) string {
	if policy := rs.chains[id].policy; policy != "" {
		return ", policy " + policy
	}
	return ""
}

// open is what to type so that a chain accepts: rules in front of all others, in the words of whoever keeps the chain.
func (rs *ruleset) open(id chainID, nft, iptables []string) string {
	if id.table == "firewalld" && rs.chains[id].hook == "input" { // it may own its table, and then nft cannot write there
		return fmt.Sprintf("firewall-cmd --permanent --add-port=%[1]s/tcp --add-port=%[1]s/udp --add-port=%[1]s/sctp && firewall-cmd --reload",
			rs.nodePorts)
	}
	commands := make([]string, len(nft))
	for i, r := range nft {
		commands[i] = fmt.Sprintf("insert rule %s %s", id, r)
	}
	byNFT := fmt.Sprintf("nft '%s'", strings.Join(commands, "; "))
	if !rs.keptByIPTables(id) {
		return byNFT
	}
	program := map[string]string{"ip": "iptables", "ip6": "ip6tables"}[id.family]
	commands = make([]string, len(iptables))
	for i, r := range iptables {
		commands[i] = fmt.Sprintf("%s -I %s %s", program, id.name, r)
	}
	return fmt.Sprintf("%s (only where iptables is not used: %s)", strings.Join(commands, " && "), byNFT)
}

// checkLegacy reports filter tables that nft does not show. /proc names them, and does not say what is in them.
func checkLegacy(proc fs.FS, nodePorts frontend.PortRange) []Item {
	var items []Item
	for _, l := range []struct{ file, program string }{{"ip_tables_names", "iptables-legacy"}, {"ip6_tables_names", "ip6tables-legacy"}} {
		tables, err := fs.ReadFile(proc, "net/"+l.file)
		if err != nil || !slices.Contains(strings.Fields(string(tables)), "filter") {
			continue // no such file: the module is not loaded
		}
		items = append(items, Item{
			Name: "firewall " + l.program, Status: Warn,
			Detail: "it has a filter table, whose policies and rules cannot be seen from here: FORWARD has to accept" +
				fmt.Sprintf(" established connections, INPUT the ports %s", nodePorts),
			Mend: fmt.Sprintf("look: %[1]s -S FORWARD; %[1]s -S INPUT", l.program),
		})
	}
	return items
}
