// Package nodeaddr knows which of a node's addresses serve node ports, and follows them live.
//
//	netlink ──► Watcher ──► []Address ─┐
//	flags ────► ParseStatic ───────────┼──► Spec.Select ──► addresses that serve, and for each other one the reason
//	flags ────► ParseSpec ─────────────┤
//	Node ─────► primary addresses ─────┘
//
// Two questions are kept apart. Address.Unusable answers whether an address can serve at all; it is a property of the
// address. Spec.Select answers whether the operator wants it to.
//
// Facts of the kernel that shape the package (measured on Linux 6.1 and 6.18):
//
//   - An address is told by RTM_NEWADDR again each time one of its flags changes, so the end of duplicate address
//     detection is an event like any other.
//   - The flag 0x01 means temporary for IPv6 and secondary for IPv4. Only the first is a reason not to serve.
//   - A link that is set down keeps its IPv4 addresses and the kernel goes on answering for them over other links; it
//     loses its IPv6 addresses, each with an event. Both are taken as the kernel has them: what it answers for, serves.
//   - A port that leaves a bridge is told by RTM_DELLINK of family AF_BRIDGE although the link stays.
//   - A subscription that overruns its socket buffer says so (ENOBUFS): then everything is read again.
//
// The package knows nothing of Kubernetes and reads the kernel only.
package nodeaddr
