package host

import (
	"net/netip"
	"slices"
	"strings"
)

// probe stands for packets that must pass. What is not said may be anything.
type probe struct {
	family   string     // ip or ip6
	state    string     // of the connection: new or established
	protocol string     // tcp, udp or sctp; "" is one of them
	to       netip.Addr // their destination; the zero Addr is any
	asked    netip.Addr // the destination that their connection had before IPVS; the zero Addr is any
	// ports are the first and the last of their destination ports; zero is any.
	ports [2]float64
}

// nodePortProtocols are the protocols by the names and the numbers that nft prints: numbers without /etc/protocols.
func nodePortProtocols() map[string]float64 {
	return map[string]float64{"tcp": 6, "udp": 17, "sctp": 132}
}

// holds judges a statement that is a condition, or has an effect and lets the rule go on.
func (p probe) holds(name string, value any) certainty {
	switch name {
	case "counter", "log", "mangle", "notrack":
		return always
	case "xt":
		if field(value, "name") == "comment" {
			return always
		}
	case "match":
		left := field(value, "left")
		c := p.matches(left, flat(field(value, "right")))
		switch field(value, "op") {
		case "==", "in":
		case "!=":
			c = always - c
		default:
			c = perhaps
		}
		// A packet without the field matches neither way.
		return min(c, p.carries(field(left, "payload")))
	}
	return perhaps
}

// carries judges whether the packets have the header of a payload expression.
func (p probe) carries(payload any) certainty {
	protocol, _ := field(payload, "protocol").(string)
	switch protocol {
	case "", "th", "ether", "vlan":
		return always
	case "ip", "ip6":
		return yes(protocol == p.family)
	}
	return p.is(protocol)
}

// matches judges whether a property of the packets is one of the values.
func (p probe) matches(left any, values []any) certainty {
	if key := field(field(left, "ct"), "key"); key == "state" {
		return yes(slices.Contains(values, any(p.state)))
	}
	if ct := field(left, "ct"); field(ct, "dir") == "original" && p.asked.IsValid() {
		switch field(ct, "key") {
		case "ip daddr", "ip6 daddr", "daddr":
			return isAmong(p.asked, values)
		}
	}
	if key := field(field(left, "meta"), "key"); key != nil {
		return p.meta(key, values)
	}
	payload := field(left, "payload")
	switch key := field(payload, "field"); {
	case key == "protocol", key == "nexthdr":
		return p.isOneOf(values)
	case key == "daddr" && p.to.IsValid():
		return isAmong(p.to, values)
	case key == "dport" && p.ports != [2]float64{}:
		return p.port(values)
	}
	return perhaps
}

func (p probe) meta(key any, values []any) certainty {
	switch key {
	case "iif", "iifname", "oif", "oifname":
		// The packets come from outside or from a pod, and go to a pod or outside.
		if !slices.ContainsFunc(values, func(v any) bool { return v != "lo" }) {
			return never
		}
	case "nfproto":
		return yes(slices.Contains(values, any(map[string]string{"ip": "ipv4", "ip6": "ipv6"}[p.family])))
	case "l4proto":
		return p.isOneOf(values)
	}
	return perhaps
}

// isAmong judges whether an address is among the values.
func isAmong(to netip.Addr, values []any) certainty {
	best := never
	for _, v := range values {
		text, isText := v.(string)
		if addr, err := netip.ParseAddr(text); err == nil {
			if addr == to {
				return always
			}
			continue
		}
		prefix := field(v, "prefix")
		base, _ := field(prefix, "addr").(string)
		bits, _ := field(prefix, "len").(float64)
		addr, err := netip.ParseAddr(base)
		if isText || err != nil { // the name of a set, or a range
			best = perhaps
		} else if netip.PrefixFrom(addr, int(bits)).Contains(to) {
			return always
		}
	}
	return best
}

func (p probe) isOneOf(protocols []any) certainty {
	best := never
	for _, v := range protocols {
		name, isName := v.(string)
		for known, number := range nodePortProtocols() {
			if v == any(number) {
				name, isName = known, true
			}
		}
		if strings.HasPrefix(name, "@") || !isName && field(v, "range") != nil {
			best = max(best, perhaps)
			continue
		}
		best = max(best, p.is(name))
	}
	return best
}

// is judges whether the packets are of a protocol.
func (p probe) is(protocol string) certainty {
	if _, ours := nodePortProtocols()[protocol]; !ours {
		return never
	}
	if p.protocol == "" {
		return perhaps
	}
	return yes(p.protocol == protocol)
}

// port judges whether the packets' ports are among the values: all, none or some of them.
func (p probe) port(values []any) certainty {
	best := never
	for _, v := range values {
		first, isNumber := v.(float64)
		last := first
		if r, isRange := field(v, "range").([]any); isRange && len(r) == 2 {
			first, isNumber = r[0].(float64)
			last, _ = r[1].(float64)
		}
		switch {
		case !isNumber: // a name
			best = perhaps
		case first <= p.ports[0] && p.ports[1] <= last:
			return always
		case first <= p.ports[1] && p.ports[0] <= last:
			best = perhaps // single ports that are open are so on purpose
		}
	}
	return best
}

// lookup is the verdict of a map for the packets. Only maps of the connection's state can be told.
func (p probe) lookup(vmap any) target {
	if field(field(field(vmap, "key"), "ct"), "key") != "state" {
		return target{name: unknown}
	}
	elements, anonymous := field(field(vmap, "data"), "set").([]any)
	if !anonymous {
		return target{name: unknown} // a map by name, whose elements are elsewhere
	}
	for _, e := range elements {
		pair, _ := e.([]any)
		if len(pair) != 2 || pair[0] != any(p.state) {
			continue
		}
		verdict, _ := pair[1].(map[string]any)
		for name, value := range verdict {
			chain, _ := field(value, "target").(string)
			return target{name, chain}
		}
	}
	return target{name: "continue"}
}

// flat lists the values on the right of a match: one, a list, or an anonymous set.
func flat(right any) []any {
	if set, isSet := field(right, "set").([]any); isSet {
		return set
	}
	if list, isList := right.([]any); isList {
		return list
	}
	return []any{right}
}

// field is a member of a JSON object; nil if there is none.
func field(object any, name string) any {
	m, _ := object.(map[string]any)
	return m[name]
}

func yes(b bool) certainty {
	if b {
		return always
	}
	return never
}
