package top

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Sort is what rows are sorted by.
type Sort string

// The orders: the busiest first, or by name.
const (
	ByConnections Sort = "connections" // new ones per second
	ByActive      Sort = "active"
	ByBytes       Sort = "bytes" // per second, in and out
	ByName        Sort = "name"
)

// Sorts lists them in the order of the help text.
func Sorts() []Sort { return []Sort{ByConnections, ByActive, ByBytes, ByName} }

// ParseSort reads --sort.
func ParseSort(text string) (Sort, error) {
	if s := Sort(text); slices.Contains(Sorts(), s) {
		return s, nil
	}
	return "", fmt.Errorf("--sort: unknown %q: write connections, active, bytes or name", text)
}

// words say the order in the header of the view.
func (s Sort) words() string {
	switch s {
	case ByActive:
		return "active connections"
	case ByBytes:
		return "bytes/s"
	case ByName:
		return "name"
	}
	return "connections/s"
}

// arranged are the ports that a filter lets through, sorted, and their endpoints sorted likewise.
func arranged(ports []Port, by Sort, filter string) []Port {
	rows := []Port{} // and not null in JSON
	for _, p := range ports {
		if p.matches(filter) {
			p.List = slices.Clone(p.List)
			slices.SortFunc(p.List, by.endpoints)
			rows = append(rows, p)
		}
	}
	slices.SortFunc(rows, by.ports)
	return rows
}

// ports compares two ports. Equals are in the order of active connections, then of names, so that quiet rows stand still.
func (s Sort) ports(a, b Port) int {
	return cmp.Or(
		s.busier(a.Rates, b.Rates, a.Active, b.Active),
		cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Service, b.Service), comparePorts(a.Port, b.Port), cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.NodePort, b.NodePort),
	)
}

func (s Sort) endpoints(a, b Endpoint) int {
	return cmp.Or(s.busier(a.Rates, b.Rates, a.Active, b.Active), comparePorts(a.Address, b.Address))
}

func (s Sort) busier(a, b *Rates, activeA, activeB uint64) int {
	active := cmp.Compare(activeB, activeA)
	switch s {
	case ByName:
		return 0
	case ByActive:
		return active
	case ByBytes:
		return cmp.Or(cmp.Compare(b.bytes(), a.bytes()), active)
	}
	return cmp.Or(cmp.Compare(b.connections(), a.connections()), active)
}

// comparePorts orders ADDRESS:PORT by address, and anything else as text.
func comparePorts(a, b string) int {
	x, errX := netip.ParseAddrPort(a)
	y, errY := netip.ParseAddrPort(b)
	if errX != nil || errY != nil {
		return cmp.Compare(a, b)
	}
	return x.Compare(y)
}

// matches looks for text in what a person sees of a port: its name as it is shown, its node port and its protocol.
func (p *Port) matches(text string) bool {
	if text == "" {
		return true
	}
	seen := name(p) + " " + strconv.Itoa(int(p.NodePort)) + "/" + p.Protocol
	return strings.Contains(strings.ToLower(seen), strings.ToLower(text))
}
