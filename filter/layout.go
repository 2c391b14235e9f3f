package filter

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
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
const layout = 1

const chainName = "postrouting"

// set describes one set of the table and how frontends are written into it.
type set struct {
	name string
	// ipv4 says which family the set holds.
	ipv4 bool
	// protocol is that of all elements; 0 in an ownership set, where it is part of the element.
	protocol frontend.Protocol
}

// ownedSet is the ownership set of a family.
func ownedSet(ipv4 bool) set { return set{name: "owned-" + familyName(ipv4), ipv4: ipv4} }

// masqueradeSet is the masquerade set of a family and protocol.
func masqueradeSet(ipv4 bool, p frontend.Protocol) set {
	return set{name: "masquerade-" + familyName(ipv4) + "-" + p.String(), ipv4: ipv4, protocol: p}
}

// sets lists all sets of the table.
func sets() []set {
	all := []set{ownedSet(true), ownedSet(false)}
	return append(all, masqueradeSets()...)
}

func masqueradeSets() []set {
	var all []set
	for _, ipv4 := range []bool{true, false} {
		for _, p := range frontend.Protocols() {
			all = append(all, masqueradeSet(ipv4, p))
		}
	}
	return all
}

func familyName(ipv4 bool) string {
	if ipv4 {
		return "ipv4"
	}
	return "ipv6"
}

func (s set) owned() bool { return s.protocol == 0 }

// object is the set as knftables makes it.
func (s set) object() *knftables.Set {
	addr := familyName(s.ipv4) + "_addr"
	if s.owned() {
		return &knftables.Set{
			Name:    s.name,
			Type:    addr + " . inet_proto . inet_service",
			Comment: knftables.PtrTo("IPVS virtual servers that kube-ipvs made: it never deletes any other"),
		}
	}
	return &knftables.Set{
		Name:    s.name,
		Type:    addr + " . inet_service",
		Comment: knftables.PtrTo("node ports whose clients reach the pods with an address of this node"),
	}
}

// element is key as an element of the set.
func (s set) element(key frontend.Key) *knftables.Element {
	text := []string{key.Addr.String()}
	if s.owned() {
		text = append(text, key.Protocol.String())
	}
	return &knftables.Element{Set: s.name, Key: append(text, strconv.Itoa(int(key.Port)))}
}

// key reads an element back. What no agent writes is an error that names set and element.
func (s set) key(e *knftables.Element) (frontend.Key, error) {
	key, err := s.parse(e.Key)
	if err == nil {
		err = key.Validate()
	}
	if err != nil {
		return frontend.Key{}, fmt.Errorf("%s: %s: %w", s.name, strings.Join(e.Key, " . "), err)
	}
	return key, nil
}

func (s set) parse(text []string) (frontend.Key, error) {
	protocol := s.protocol
	if s.owned() && len(text) == 3 {
		p, err := parseProtocol(text[1])
		if err != nil {
			return frontend.Key{}, err
		}
		protocol, text = p, []string{text[0], text[2]}
	}
	if len(text) != 2 || protocol == 0 {
		return frontend.Key{}, errors.New("not an element of this set's type")
	}
	addr, err := netip.ParseAddr(text[0])
	if err != nil {
		return frontend.Key{}, err
	}
	if addr.Is4() != s.ipv4 {
		return frontend.Key{}, errors.New("address of the other family")
	}
	port, err := strconv.ParseUint(text[1], 10, 16)
	if err != nil {
		return frontend.Key{}, err
	}
	return frontend.Key{Addr: addr, Protocol: protocol, Port: uint16(port)}, nil
}

// parseProtocol reads a protocol by name or number: nft prints numbers where there is no /etc/protocols.
func parseProtocol(text string) (frontend.Protocol, error) {
	if n, err := strconv.ParseUint(text, 10, 8); err == nil {
		return frontend.Protocol(n), nil
	}
	return frontend.ParseProtocol(text)
}

// tableObject is the table, with the comment for whoever finds it.
func tableObject() *knftables.Table {
	return &knftables.Table{
		Comment: knftables.PtrTo("kept by the kube-ipvs agent for node ports served by IPVS; 'kube-ipvs cleanup' removes it"),
	}
}

func chainObject() *knftables.Chain {
	return &knftables.Chain{
		Name:     chainName,
		Type:     knftables.PtrTo(knftables.NATType),
		Hook:     knftables.PtrTo(knftables.PostroutingHook),
		Priority: knftables.PtrTo(knftables.SNATPriority),
		Comment:  knftables.PtrTo("replies of the pods have to come back through this node: masquerade the clients"),
	}
}

// ruleObjects lists the rules of the chain in order, each with its own comment.
func ruleObjects() []*knftables.Rule {
	var rules []*knftables.Rule
	for _, s := range masqueradeSets() {
		daddr := "ip daddr"
		if !s.ipv4 {
			daddr = "ip6 daddr"
		}
		rules = append(rules, &knftables.Rule{
			Chain: chainName,
			Rule: knftables.Concat("meta nfproto", familyName(s.ipv4), "meta l4proto", s.protocol.String(),
				"ct original", daddr, ". ct original proto-dst @"+s.name, "masquerade fully-random"),
			Comment: knftables.PtrTo(fmt.Sprintf("layout %d, %s %s", layout, familyName(s.ipv4), s.protocol)),
		})
	}
	return rules
}

// addSkeleton makes the table without elements.
func addSkeleton(tx *knftables.Transaction) {
	tx.Add(tableObject())
	for _, s := range sets() {
		tx.Add(s.object())
	}
	tx.Add(chainObject())
	for _, r := range ruleObjects() {
		tx.Add(r)
	}
}
