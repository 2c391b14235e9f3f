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

// kind says what the elements of a container are.
type kind uint8

const (
	owned      kind = iota // address . protocol . port
	internal               // address . protocol . port
	pods                   // prefixes
	masquerade             // address . port : verdict
	sources                // address . protocol . port : verdict
	allowed                // prefixes
	denied                 // prefixes
)

// container is one set or map of the table.
type container struct {
	kind kind
	// ipv4 says which family it holds.
	ipv4 bool
	// protocol is that of all elements of a masquerade map; 0 elsewhere.
	protocol frontend.Protocol
	// list is the ID of the Sources of which allowed and denied are sets; empty elsewhere.
	list string
}

func (c container) name() string {
	switch c.kind {
	case owned:
		return "owned-" + familyName(c.ipv4)
	case internal:
		return "internal-" + familyName(c.ipv4)
	case pods:
		return "pods-" + familyName(c.ipv4)
	case sources:
		return sourcesPrefix + familyName(c.ipv4)
	case allowed:
		return "allow-" + c.list + "-" + familyName(c.ipv4)
	case denied:
		return "deny-" + c.list + "-" + familyName(c.ipv4)
	default:
		return "masquerade-" + familyName(c.ipv4) + "-" + c.protocol.String()
	}
}

// objectType is what nft calls it.
func (c container) objectType() string {
	if c.kind == masquerade || c.kind == sources {
		return "map"
	}
	return "set"
}

// element is key as an element of a set of frontends.
func (c container) element(key frontend.Key) *knftables.Element {
	return &knftables.Element{Set: c.name(), Key: []string{key.Addr.String(), key.Protocol.String(), strconv.Itoa(int(key.Port))}}
}

// masqueraded is key as an element of a masquerade map.
func (c container) masqueraded(key frontend.Key, m Masquerade) *knftables.Element {
	return &knftables.Element{
		Map: c.name(), Key: []string{key.Addr.String(), strconv.Itoa(int(key.Port))}, Value: []string{"goto " + chainOf(m)},
	}
}

// admitting is key as an element of a map of sources.
func (c container) admitting(key frontend.Key, s *Sources) *knftables.Element {
	e := c.element(key)
	return &knftables.Element{Map: e.Set, Key: e.Key, Value: []string{"jump " + s.chain().Name}}
}

// prefix is p as an element of a set of prefixes.
func (c container) prefix(p netip.Prefix) *knftables.Element {
	return &knftables.Element{Set: c.name(), Key: []string{p.String()}}
}

// add enters an element into rules. What no agent writes is an error that names container and element.
func (c container) add(e *knftables.Element, rules *Rules) error {
	if err := c.enter(e, rules); err != nil {
		return c.stray(e, err)
	}
	return nil
}

func (c container) stray(e *knftables.Element, err error) error {
	return fmt.Errorf("%s: %s: %w", c.name(), strings.Join(e.Key, " . "), err)
}

func (c container) enter(e *knftables.Element, rules *Rules) error {
	if c.kind == pods {
		p, err := c.parsePrefix(e.Key)
		if err == nil {
			rules.Pods = append(rules.Pods, p)
		}
		return err
	}
	key, err := c.parseKey(e.Key)
	if err != nil {
		return err
	}
	switch c.kind {
	case owned:
		rules.Owned[key] = struct{}{}
	case internal:
		rules.Internal[key] = struct{}{}
	default:
		m, err := parseVerdict(e.Value)
		if err != nil {
			return err
		}
		rules.Masquerade[key] = m
	}
	return nil
}

func (c container) parseKey(text []string) (frontend.Key, error) {
	protocol := c.protocol
	if c.kind != masquerade && len(text) == 3 {
		p, err := parseProtocol(text[1])
		if err != nil {
			return frontend.Key{}, err
		}
		protocol, text = p, []string{text[0], text[2]}
	}
	if len(text) != 2 || protocol == 0 {
		return frontend.Key{}, errors.New("not an element of this type")
	}
	addr, err := netip.ParseAddr(text[0])
	if err != nil {
		return frontend.Key{}, err
	}
	if addr.Is4() != c.ipv4 {
		return frontend.Key{}, errors.New("address of the other family")
	}
	port, err := strconv.ParseUint(text[1], 10, 16)
	if err != nil {
		return frontend.Key{}, err
	}
	key := frontend.Key{Addr: addr, Protocol: protocol, Port: uint16(port)}
	return key, key.Validate()
}

// parseProtocol reads a protocol by name or number: nft prints numbers where there is no /etc/protocols.
func parseProtocol(text string) (frontend.Protocol, error) {
	if n, err := strconv.ParseUint(text, 10, 8); err == nil {
		return frontend.Protocol(n), nil
	}
	return frontend.ParseProtocol(text)
}

// parsePrefix reads a prefix as nft prints it: one of a single address without its length.
func (c container) parsePrefix(text []string) (netip.Prefix, error) {
	if len(text) != 1 {
		return netip.Prefix{}, errors.New("not an element of this type")
	}
	p, err := netip.ParsePrefix(text[0])
	if !strings.Contains(text[0], "/") {
		var addr netip.Addr
		addr, err = netip.ParseAddr(text[0])
		p = netip.PrefixFrom(addr, addr.BitLen())
	}
	switch {
	case err != nil:
		return netip.Prefix{}, err
	case p.Addr().Is4() != c.ipv4:
		return netip.Prefix{}, errors.New("prefix of the other family")
	}
	return p, validatePrefix(p)
}

// parseVerdict reads where a masquerade map sends a frontend. In layout 1 the maps were sets, of frontends whose clients
// were all masqueraded.
func parseVerdict(value []string) (Masquerade, error) {
	if len(value) == 0 {
		return MasqueradeAll, nil
	}
	text := strings.Join(value, " ")
	for _, m := range masquerades() {
		if text == "goto "+chainOf(m) {
			return m, nil
		}
	}
	return MasqueradeNone, fmt.Errorf("unknown verdict %q", text)
}

// validatePrefix refuses what no set of prefixes can hold.
func validatePrefix(p netip.Prefix) error {
	switch {
	case !p.IsValid():
		return errors.New("not a prefix")
	case p.Addr().Is4In6() || p.Addr().Zone() != "":
		return fmt.Errorf("prefix %s is not in canonical form", p)
	case p != p.Masked():
		return fmt.Errorf("prefix %s has bits behind its length", p)
	}
	return nil
}
