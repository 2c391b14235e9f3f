package observe

import (
	"encoding/binary"
	"maps"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// Names of kube-proxy 1.37 (pkg/proxy/nftables/proxier.go). Of one Service with a node port and no session affinity:
//
//	map service-nodeports { tcp . 30080 : goto external-HASH-ns/name/tcp/port }
//	chain external-HASH-… { masquerade; goto service-HASH-… }
//	chain service-HASH-… { meta l4proto tcp dnat ip addr . port to numgen random mod 2 map { 0 : 10.1.2.3 . 80, 1 : … } }
//
// With one endpoint the last rule has it in itself, with affinity it leads to a chain for each endpoint. All of that is followed
// here without a look at the names of chains.
const (
	table         = "kube-proxy"
	nodePortsMap  = "service-nodeports"
	nodePortIPSet = "nodeport-ips"
)

// ruleset is what is known of kube-proxy's table of one family. Messages of dumps and notifications make it, for they are alike.
type ruleset struct {
	chains map[string]map[uint64]rule    // by handle
	sets   map[string]map[string]element // by key
}

// rule is what a rule leads to.
type rule struct {
	chains []string // jump and goto
	sets   []string // lookups
	values []string // what it loads: of dnat an address, then a port
	modulo uint32   // of numgen: how many endpoints it chooses from
}

// element is what an element of a map leads to.
type element struct {
	chain string
	value string
}

func newRuleset() *ruleset {
	return &ruleset{chains: map[string]map[uint64]rule{}, sets: map[string]map[string]element{}}
}

// apply takes a message in.
func (r *ruleset) apply(m message) {
	// The first attribute of all these messages is the table (NFTA_TABLE_NAME, NFTA_CHAIN_TABLE, ...).
	if text(attribute(m.attrs, unix.NFTA_RULE_TABLE)) != table {
		return
	}
	switch m.kind {
	case unix.NFT_MSG_DELTABLE:
		*r = *newRuleset()
	case unix.NFT_MSG_DELCHAIN:
		delete(r.chains, text(attribute(m.attrs, unix.NFTA_CHAIN_NAME)))
	case unix.NFT_MSG_NEWRULE:
		r.addRule(m.attrs)
	case unix.NFT_MSG_DELRULE:
		delete(r.chains[text(attribute(m.attrs, unix.NFTA_RULE_CHAIN))], number(attribute(m.attrs, unix.NFTA_RULE_HANDLE)))
	case unix.NFT_MSG_NEWSET:
		// The name of an anonymous set may have been another's, whose end with its rule nobody was told of.
		if number(attribute(m.attrs, unix.NFTA_SET_FLAGS))&unix.NFT_SET_ANONYMOUS != 0 {
			delete(r.sets, text(attribute(m.attrs, unix.NFTA_SET_NAME)))
		}
	case unix.NFT_MSG_DELSET:
		delete(r.sets, text(attribute(m.attrs, unix.NFTA_SET_NAME)))
	case unix.NFT_MSG_NEWSETELEM:
		r.addElements(m.attrs)
	case unix.NFT_MSG_DELSETELEM:
		set := r.sets[text(attribute(m.attrs, unix.NFTA_SET_ELEM_LIST_SET))]
		for _, e := range attributes(attribute(m.attrs, unix.NFTA_SET_ELEM_LIST_ELEMENTS)) {
			delete(set, data(attribute(e, unix.NFTA_SET_ELEM_KEY)).value)
		}
	}
}

func (r *ruleset) addRule(attrs []byte) {
	var added rule
	for _, e := range attributes(attribute(attrs, unix.NFTA_RULE_EXPRESSIONS)) {
		d := attribute(e, unix.NFTA_EXPR_DATA)
		switch text(attribute(e, unix.NFTA_EXPR_NAME)) {
		case "lookup":
			added.sets = append(added.sets, text(attribute(d, unix.NFTA_LOOKUP_SET)))
		case "numgen":
			added.modulo = uint32(number(attribute(d, unix.NFTA_NG_MODULUS)))
		case "immediate":
			switch v := data(attribute(d, unix.NFTA_IMMEDIATE_DATA)); {
			case v.chain != "":
				added.chains = append(added.chains, v.chain)
			case v.value != "":
				added.values = append(added.values, v.value)
			}
		}
	}
	name := text(attribute(attrs, unix.NFTA_RULE_CHAIN))
	if r.chains[name] == nil {
		r.chains[name] = map[uint64]rule{}
	}
	r.chains[name][number(attribute(attrs, unix.NFTA_RULE_HANDLE))] = added
}

func (r *ruleset) addElements(attrs []byte) {
	name := text(attribute(attrs, unix.NFTA_SET_ELEM_LIST_SET))
	if r.sets[name] == nil {
		r.sets[name] = map[string]element{}
	}
	for _, e := range attributes(attribute(attrs, unix.NFTA_SET_ELEM_LIST_ELEMENTS)) {
		r.sets[name][data(attribute(e, unix.NFTA_SET_ELEM_KEY)).value] = data(attribute(e, unix.NFTA_SET_ELEM_DATA))
	}
}

// data is a value or a verdict.
func data(b []byte) element {
	return element{
		chain: text(attribute(attribute(b, unix.NFTA_DATA_VERDICT), unix.NFTA_VERDICT_CHAIN)),
		value: string(attribute(b, unix.NFTA_DATA_VALUE)),
	}
}

// number is an integer of nf_tables, which are all big-endian.
func number(b []byte) (n uint64) {
	for _, x := range b {
		n = n<<8 | uint64(x)
	}
	return n
}

// external is the chain for what comes to a frontend's node port; "" if there is none, or if the address does not serve.
func (r *ruleset) external(key frontend.Key) string {
	if ips, limited := r.sets[nodePortIPSet]; limited {
		if _, serves := ips[string(key.Addr.AsSlice())]; !serves {
			return ""
		}
	}
	return r.sets[nodePortsMap][nodePort(key)].chain
}

// nodePort is the key of a node port, each part of which takes four bytes.
func nodePort(key frontend.Key) string {
	return string([]byte{byte(key.Protocol), 0, 0, 0, byte(key.Port >> 8), byte(key.Port), 0, 0})
}

// depth is more than the chains on the way from a node port to an endpoint.
const depth = 8

// visit calls each for every rule that a packet to a chain may come to, once for each depth at which it does: ways through chains that jump
// to others by several rules are more than anybody could follow.
func (r *ruleset) visit(chain string, each func(rule)) {
	if chain == "" {
		return
	}
	level := map[string]struct{}{chain: {}}
	for range depth {
		below := map[string]struct{}{}
		for name := range level {
			for _, found := range r.chains[name] {
				each(found)
				for _, next := range found.chains {
					below[next] = struct{}{}
				}
				for _, set := range found.sets {
					for _, e := range r.sets[set] {
						if e.chain != "" {
							below[e.chain] = struct{}{}
						}
					}
				}
			}
		}
		level = below
	}
}

// endpoints are those that a frontend leads to.
func (r *ruleset) endpoints(key frontend.Key) map[netip.AddrPort]bool {
	found := map[netip.AddrPort]bool{}
	add := func(v string) {
		if e, ok := endpoint(v, key.Addr.Is4()); ok {
			found[e] = true
		}
	}
	r.visit(r.external(key), func(x rule) {
		if len(x.values) == 2 && len(x.values[0])%4 == 0 && len(x.values[1]) == 2 {
			add(x.values[0] + pad(x.values[1]))
		}
		for _, set := range x.sets {
			for _, e := range r.sets[set] {
				add(e.value)
			}
		}
	})
	return found
}

// announced is how many endpoints a frontend leads to by its rules alone, without the elements of their maps.
func (r *ruleset) announced(key frontend.Key) int {
	n := 0
	r.visit(r.external(key), func(x rule) {
		n += int(x.modulo)
		if len(x.values) == 2 {
			n++
		}
	})
	return n
}

// has says whether a frontend leads to an endpoint.
func (r *ruleset) has(key frontend.Key, e netip.AddrPort) bool { return r.endpoints(key)[e] }

// sameRules says whether both have the same rules.
func (r *ruleset) sameRules(other *ruleset) bool {
	return maps.EqualFunc(r.chains, other.chains, func(a, b map[uint64]rule) bool {
		return maps.EqualFunc(a, b, func(rule, rule) bool { return true })
	})
}

// endpoint reads an address and a port, each part of which takes a multiple of four bytes.
func endpoint(v string, is4 bool) (netip.AddrPort, bool) {
	size := 16
	if is4 {
		size = 4
	}
	if len(v) != size+4 {
		return netip.AddrPort{}, false
	}
	a, _ := netip.AddrFromSlice([]byte(v[:size]))
	return netip.AddrPortFrom(a, binary.BigEndian.Uint16([]byte(v[size:]))), true
}

func pad(v string) string { return v + string(make([]byte, align(len(v))-len(v))) }
