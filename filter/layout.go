package filter

import (
	"fmt"
	"slices"
	"strings"

	"sigs.k8s.io/knftables"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// Family and Name are the nftables family and the name of the table, for whoever makes the knftables.Interface.
const (
	Family = knftables.InetFamily
	Name   = "kube-ipvs"
)

// layout is the version of everything in this file. It stands in the comments of the rules; a table with another one is
// made anew by Ensure, with the elements it can still read. Raise it with every change of names, types or rules.
const layout = 5

// The chains. The first four are hooked (hooks.go tells when), the others are where their rules and the masquerade maps
// send packets. What the sources maps send them to is in lists.go.
const (
	chainInput       = "input"
	chainOutput      = "output"
	chainForward     = "forward"
	chainPostrouting = "postrouting"
	chainOutside     = "outside"
	chainDecided     = "decided"
)

// chainFor is where the connections of a protocol and family are looked up that do not take the short way through
// postrouting.
func chainFor(c container) string {
	return chainPostrouting + "-" + familyName(c.ipv4) + "-" + c.protocol.String()
}

// chainOf is where the masquerade maps send the connections of a frontend.
func chainOf(m Masquerade) string { return "masquerade-" + m.String() }

func families() []bool { return []bool{true, false} }

func familyName(ipv4 bool) string {
	if ipv4 {
		return "ipv4"
	}
	return "ipv6"
}

// header is how a rule names the network header of a family.
func header(ipv4 bool) string {
	if ipv4 {
		return "ip"
	}
	return "ip6"
}

// containers lists all sets and maps of the table but those of lists.
func containers() []container {
	var all []container
	for _, ipv4 := range families() {
		all = append(all, ownedSet(ipv4), internalSet(ipv4), podsSet(ipv4), sourcesMap(ipv4))
		for _, p := range frontend.Protocols() {
			all = append(all, masqueradeMap(ipv4, p))
		}
	}
	return all
}

func ownedSet(ipv4 bool) container { return container{kind: owned, ipv4: ipv4} }

func internalSet(ipv4 bool) container { return container{kind: internal, ipv4: ipv4} }

func podsSet(ipv4 bool) container { return container{kind: pods, ipv4: ipv4} }

func sourcesMap(ipv4 bool) container { return container{kind: sources, ipv4: ipv4} }

func masqueradeMap(ipv4 bool, p frontend.Protocol) container {
	return container{kind: masquerade, ipv4: ipv4, protocol: p}
}

// object is the set or map as knftables makes it.
func (c container) object() knftables.Object {
	addr := familyName(c.ipv4) + "_addr"
	key := addr + " . inet_proto . inet_service"
	comment := map[kind]*string{
		owned:      knftables.PtrTo("IPVS virtual servers that kube-ipvs made: it never deletes any other"),
		internal:   knftables.PtrTo("node ports that take new connections from this node and its pods only"),
		pods:       knftables.PtrTo("addresses of this node's pods"),
		masquerade: knftables.PtrTo("node ports whose clients reach the pods with an address of this node"),
		sources:    knftables.PtrTo("node ports that take new connections from some clients only"),
	}[c.kind]
	switch c.kind {
	case masquerade:
		return &knftables.Map{Name: c.name(), Type: addr + " . inet_service : verdict", Comment: comment}
	case sources:
		return &knftables.Map{Name: c.name(), Type: key + " : verdict", Comment: comment}
	case pods, allowed, denied:
		return &knftables.Set{Name: c.name(), Type: addr, Flags: []knftables.SetFlag{knftables.IntervalFlag}, Comment: comment}
	default:
		return &knftables.Set{Name: c.name(), Type: key, Comment: comment}
	}
}

// tableObject is the table, with the comment for whoever finds it.
func tableObject() *knftables.Table {
	return &knftables.Table{
		Comment: knftables.PtrTo("kept by the kube-ipvs agent for node ports served by IPVS; 'kube-ipvs cleanup' removes it"),
	}
}

// chainObjects are the chains of a table with these hooks.
func chainObjects(hooks Hooks) []*knftables.Chain {
	chains := append(hooks.chains(), &knftables.Chain{
		Name:     chainPostrouting,
		Type:     knftables.PtrTo(knftables.NATType),
		Hook:     knftables.PtrTo(knftables.PostroutingHook),
		Priority: knftables.PtrTo(knftables.SNATPriority),
		Comment:  knftables.PtrTo("replies of the pods have to come back through this node: masquerade the clients"),
	}, &knftables.Chain{
		Name: chainOutside, Comment: knftables.PtrTo("neither this node nor one of its pods: dropped"),
	}, &knftables.Chain{
		Name: chainDecided, Comment: knftables.PtrTo("of a connection that is there: let in, unless it begins another one"),
	})
	for _, c := range rareMaps() {
		chains = append(chains, &knftables.Chain{Name: chainFor(c)})
	}
	for _, m := range masquerades() {
		chains = append(chains, &knftables.Chain{Name: chainOf(m)})
	}
	return chains
}

// match is how rules tell the pods of this node.
type match struct{ podInterface string }

// from matches packets of a family that come from a pod of this node.
func (m match) from(ipv4 bool) string {
	if m.podInterface != "" {
		return knftables.Concat("iifname", m.quoted())
	}
	return knftables.Concat(header(ipv4), "saddr @"+podsSet(ipv4).name())
}

// elsewhere matches packets of a family that do not go to a pod of this node.
func (m match) elsewhere(ipv4 bool) string {
	if m.podInterface != "" {
		return knftables.Concat("oifname !=", m.quoted())
	}
	return knftables.Concat(header(ipv4), "daddr != @"+podsSet(ipv4).name())
}

func (m match) quoted() string { return `"` + m.podInterface + `"` }

// rules are gathered in the order of each chain. Each has a comment of its own in its chain, which tells what it is and of
// which layout.
type rules struct {
	match match
	list  []*knftables.Rule
}

func (r *rules) add(chain, what string, rule ...any) {
	version := fmt.Sprintf("layout %d, ", layout)
	if r.match.podInterface != "" {
		version += "pods on " + r.match.podInterface + ", "
	}
	r.list = append(r.list, &knftables.Rule{Chain: chain, Rule: knftables.Concat(rule...), Comment: knftables.PtrTo(version + what)})
}

// ruleObjects are the rules of a table with these hooks.
func ruleObjects(m match, hooks Hooks) []*knftables.Rule {
	r := &rules{match: m}
	for _, chain := range hooks.chains() {
		if chain.Name == chainForward {
			r.addForward()
		} else {
			r.addHooked(chain.Name)
		}
	}
	r.addDecided()
	r.addPostrouting()
	const replace = "masquerade fully-random"
	r.add(chainOutside, "this node itself", `iifname "lo"`, "return")
	for _, ipv4 := range families() {
		family := familyName(ipv4)
		nfproto := "meta nfproto " + family
		r.add(chainOutside, "its pods, "+family, nfproto, m.from(ipv4), "return")
		r.add(chainOf(MasqueradeRemote), "pods elsewhere, "+family, nfproto, m.elsewhere(ipv4), replace)
		r.add(chainOf(MasqueradePods), "clients that are pods, "+family, nfproto, m.from(ipv4), replace)
	}
	r.add(chainOutside, "everybody else", "drop")
	r.add(chainOf(MasqueradeRemote), "clients that are pods", "goto", chainOf(MasqueradePods))
	r.add(chainOf(MasqueradeAll), "all clients", replace)
	return r.list
}

// addHooked adds the rules of input or output.
func (r *rules) addHooked(chain string) {
	r.add(chain, "decided before", "ct state established,related jump", chainDecided)
	for _, ipv4 := range families() {
		// What gets here belongs to no connection. Besides what is new that is what conntrack cannot follow, or was told not to.
		r.add(chain, "sources, "+familyName(ipv4), header(ipv4), "daddr . meta l4proto . th dport vmap @"+sourcesMap(ipv4).name())
	}
	if chain != chainInput {
		return
	}
	const begins = "ct state new,established" // it is established if it comes back from decided
	for _, ipv4 := range families() {
		r.add(chain, "internal, "+familyName(ipv4), begins, header(ipv4), "daddr . meta l4proto . th dport @"+internalSet(ipv4).name(), "goto", chainOutside)
	}
}

// addForward adds the rules for packets to a frontend that are forwarded, since its address is not on this node: of connections that IPVS
// translated, whose replies come from a pod. Those of others have the frontend there: the address is somewhere else for them.
func (r *rules) addForward() {
	for _, ipv4 := range families() {
		h, owned := header(ipv4), ownedSet(ipv4).name()
		r.add(chainForward, "away, "+familyName(ipv4), "ct direction original", h, "daddr . meta l4proto . th dport @"+owned,
			"ct reply", h, "saddr . meta l4proto . th dport != @"+owned, "drop")
	}
}

// addDecided adds the rules for what conntrack takes for a part of something that is there. It does so too with the first packet of an SCTP
// association whose addresses and ports belonged to one that was refused less than 10 s before (Linux 6.1), and many programs use the same ports
// always. That packet is told by its INIT chunk, which stands alone in its packet, behind a header of 12 bytes (RFC 9260 §3.1, §6.10).
// A refused TCP connection conntrack forgets at once, and a closed one as soon as a SYN comes.
func (r *rules) addDecided() {
	r.add(chainDecided, "no SCTP", "meta l4proto != sctp accept")
	r.add(chainDecided, "no INIT", "@th,96,8 != 1 accept")
}

// addPostrouting adds the rules that every connection of the node meets once, so there are few: a TCP connection is looked
// up by the first or second of them, of the others all but one are told by their protocol that nothing is known of them.
func (r *rules) addPostrouting() {
	look := func(c container) string {
		return fmt.Sprintf("meta l4proto %s ct original %s daddr . ct original proto-dst vmap @%s", c.protocol, header(c.ipv4), c.name())
	}
	for _, ipv4 := range families() {
		c := masqueradeMap(ipv4, frontend.TCP)
		r.add(chainPostrouting, familyName(ipv4)+" "+c.protocol.String(), "meta nfproto "+familyName(ipv4), look(c))
	}
	var ways []string
	for _, c := range rareMaps() {
		ways = append(ways, fmt.Sprintf("%s . %s : goto %s", familyName(c.ipv4), c.protocol, chainFor(c)))
		r.add(chainFor(c), familyName(c.ipv4)+" "+c.protocol.String(), look(c))
	}
	r.add(chainPostrouting, "other protocols", "meta nfproto . meta l4proto vmap {", strings.Join(ways, " , "), "}")
}

// rareMaps are the masquerade maps of other protocols than TCP.
func rareMaps() []container {
	return slices.DeleteFunc(containers(), func(c container) bool { return c.kind != masquerade || c.protocol == frontend.TCP })
}

// addSkeleton makes the table without elements.
func addSkeleton(tx *knftables.Transaction, m match, hooks Hooks) {
	tx.Add(tableObject())
	for _, c := range containers() {
		if c.objectType() == "set" {
			tx.Add(c.object())
		}
	}
	for _, c := range chainObjects(hooks) {
		tx.Add(c)
	}
	for _, c := range containers() {
		if c.objectType() == "map" {
			tx.Add(c.object())
		}
	}
	for _, r := range ruleObjects(m, hooks) {
		tx.Add(r)
	}
}
