package nodeaddr

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// Networks are the operator's names for parts of a node's addresses: the values of --network. Authors of Services use them
// without knowing what stands behind them on a node.
type Networks map[string]Spec

// networkName is what can neither be taken for another kind of entry nor hurt wherever it is printed.
var networkName = regexp.MustCompile(`^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$`)

// ParseNetworks reads definitions, each of them NAME=ENTRY,... with the entries of ParseSpec. The error joins all bad ones.
func ParseNetworks(definitions []string) (Networks, error) {
	networks := Networks{}
	var errs []error
	for _, text := range definitions {
		name, entries, ok := strings.Cut(text, "=")
		err := checkNetworkName(name)
		_, twice := networks[name]
		var spec Spec
		switch {
		case !ok:
			err = errors.New("write NAME=ENTRY,..., for example internal=10.0.0.0/8,iface:eth1")
		case err != nil:
		case slices.ContainsFunc(splitEntries([]string{entries}), isDefinition):
			err = errors.New("a second name is in it: write one flag for each name")
		case twice:
			err = errors.New("is defined twice: put all of its entries into one definition")
		default:
			spec, err = ParseSpec([]string{entries})
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%q: %w", text, err))
			continue
		}
		networks[name] = spec
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return networks, nil
}

// isDefinition reports whether an entry was meant to be a definition of its own.
func isDefinition(entry string) bool {
	name, _, ok := strings.Cut(entry, "=")
	return ok && networkName.MatchString(name)
}

func checkNetworkName(name string) error {
	switch {
	case slices.Contains([]string{"primary", "all", "localhost", "none"}, name):
		return errors.New("the name has a meaning of its own: choose another one")
	case !networkName.MatchString(name):
		return fmt.Errorf("%q cannot be a name: up to 63 lower-case letters, digits and dashes, a letter first", name)
	}
	return nil
}

// Names lists the networks in order.
func (n Networks) Names() []string { return slices.Sorted(maps.Keys(n)) }

// Parse reads what a Service's author wrote: names of networks, and whatever ParseSpec takes, separated by commas. Names
// that are not defined here select nothing and are listed apart: another node may have such a network. The error joins all
// entries that can have no meaning on any node.
func (n Networks) Parse(text string) (spec Spec, undefined []string, err error) {
	var errs []error
	for _, part := range splitEntries([]string{text}) {
		named, defined := n[part]
		switch e, err := parseEntry(part); {
		case defined:
			spec.add(named.entries...)
		case err == nil:
			spec.add(e)
		case checkNetworkName(part) == nil:
			undefined = append(undefined, part)
		case checkNetworkName(strings.ToLower(part)) == nil:
			errs = append(errs, fmt.Errorf("%q: names of networks are in lower case; for an interface write \"iface:%s\"", part, part))
		default:
			errs = append(errs, fmt.Errorf("%q: %w", part, err))
		}
	}
	if len(errs) > 0 {
		return Spec{}, nil, errors.Join(errs...)
	}
	return spec, undefined, nil
}

// add appends the entries that the spec has not.
func (s *Spec) add(entries ...entry) {
	for _, e := range entries {
		if !slices.Contains(s.entries, e) {
			s.entries = append(s.entries, e)
		}
	}
}

// Place is an address that serves, with all that a Spec may ask of it.
type Place struct {
	Addr netip.Addr
	// Interfaces have it, in order; none if that is not known.
	Interfaces []string
	// Primary: it is one of the Node's.
	Primary bool
}

// Equal reports whether no Spec can tell the two apart.
func (p Place) Equal(o Place) bool {
	return p.Addr == o.Addr && p.Primary == o.Primary && slices.Equal(p.Interfaces, o.Interfaces)
}

// Places says of each of the given addresses where it stands, in their order. One that no interface has keeps what
// before says of it: it vanished a moment ago.
func Places(serving []netip.Addr, all []Address, primary []netip.Addr, before []Place) []Place {
	primary = normalise(primary)
	places := make([]Place, 0, len(serving))
	for _, addr := range serving {
		p := Place{Addr: addr, Primary: slices.Contains(primary, addr)}
		for _, a := range all {
			if a.Addr == addr && a.Interface != "" {
				p.Interfaces = append(p.Interfaces, a.Interface)
			}
		}
		if i := slices.IndexFunc(before, func(b Place) bool { return b.Addr == addr }); len(p.Interfaces) == 0 && i >= 0 {
			p.Interfaces = before[i].Interfaces
		}
		slices.Sort(p.Interfaces)
		p.Interfaces = slices.Compact(p.Interfaces)
		places = append(places, p)
	}
	return places
}

// Selects reports whether any entry of the spec selects the address.
func (s Spec) Selects(p Place) bool {
	var primary []netip.Addr
	if p.Primary {
		primary = []netip.Addr{p.Addr}
	}
	return slices.ContainsFunc(s.entries, func(e entry) bool {
		if e.kind == byInterface {
			return slices.ContainsFunc(p.Interfaces, func(name string) bool { return e.selects(Address{Interface: name}, nil) })
		}
		return e.selects(Address{Addr: p.Addr}, primary)
	})
}
