package nodeaddr

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"
)

// Address is one address of one interface. It is comparable; Addr is never 4-in-6 and has no zone.
type Address struct {
	Addr      netip.Addr
	PrefixLen int
	Interface string // empty if unknown
	State     State
}

// State is what the kernel says of an address, as a set of bits. Zero is a plain address that is ready for use. All of
// them but Deprecated exist for IPv6 only.
type State uint8

// The states of an address that matter to somebody who wants to serve on it.
const (
	// Tentative: duplicate address detection is under way, the kernel does not answer for the address yet.
	Tentative State = 1 << iota
	// Optimistic: tentative, but in use already (RFC 4429).
	Optimistic
	// DADFailed: another host on the link has the address.
	DADFailed
	// Temporary: a privacy address that is replaced regularly (RFC 8981).
	Temporary
	// Deprecated: not to be chosen as the source of new connections (its preferred lifetime is over).
	Deprecated
)

// String lists the states that are set, separated by blanks.
func (s State) String() string {
	var set []string
	for i, name := range []string{"tentative", "optimistic", "dadfailed", "temporary", "deprecated"} {
		if s&(1<<i) != 0 {
			set = append(set, name)
		}
	}
	return strings.Join(set, " ")
}

// String is "eth0 10.1.0.10/24", with the states behind it if there are any.
func (a Address) String() string {
	return strings.TrimSpace(fmt.Sprintf("%s %s/%d %s", a.Interface, a.Addr, a.PrefixLen, a.State))
}

// Compare orders addresses by number (IPv4 before IPv6), then interface, prefix length and state.
func (a Address) Compare(o Address) int {
	return cmp.Or(a.Addr.Compare(o.Addr), cmp.Compare(a.Interface, o.Interface),
		cmp.Compare(a.PrefixLen, o.PrefixLen), cmp.Compare(a.State, o.State))
}

// Unusable says in words for people why no node port can be served on the address, whoever selects it; it is empty if
// one can. Two choices are not obvious:
//
//   - A deprecated address serves. Deprecation is about the source of new connections; whoever calls it still gets an
//     answer, and addresses that are meant for services only are often given a preferred lifetime of zero.
//   - An optimistic address serves although detection is not over: the administrator has asked for the address to be
//     used at once, the kernel does so, and if the detection fails the address becomes unusable like any other.
func (a Address) Unusable() string {
	switch {
	case !a.Addr.IsValid() || a.Addr.IsUnspecified():
		return "not the address of a host"
	case a.Addr.IsLoopback():
		return "loopback address: IPVS cannot balance connections from it to other hosts"
	case a.Addr.IsMulticast():
		return "multicast address"
	case a.Addr.IsLinkLocalUnicast():
		return "link-local address: it is not unique on a node with several networks"
	case a.State&DADFailed != 0:
		return "duplicate address: another host on the link has it"
	case a.State&Tentative != 0 && a.State&Optimistic == 0:
		return "tentative address: duplicate address detection is not over"
	case a.State&Temporary != 0:
		return "temporary address: the kernel replaces it regularly (RFC 8981)"
	}
	if owner := serviceDummy(a.Interface); owner != "" {
		return fmt.Sprintf("on %s, where %s keeps addresses of Services", a.Interface, owner)
	}
	return ""
}

// OfServices reports whether somebody keeps the address for a Service, on an interface that has nothing else: it is no
// address of the node's own, and no node port stands on it.
func (a Address) OfServices() bool { return serviceDummy(a.Interface) != "" }

// serviceDummy names who keeps addresses that are the same on every node on an interface of this name. Addresses on
// other dummy interfaces are left to the operator: virtual addresses for BGP or keepalived are meant to serve, and so
// may load balancer addresses be (PureLB's kube-lb0).
func serviceDummy(name string) string {
	switch name {
	case "kube-ipvs0":
		return "kube-proxy in IPVS mode"
	case "kube-dummy-if":
		return "kube-router"
	case "nodelocaldns":
		return "NodeLocal DNSCache"
	}
	return ""
}
