// Package host is what the agent reads and sets of a node beside IPVS, nftables and addresses.
//
//	Sysctls            the kernel settings that node ports need: written where they differ, given back by cleanup
//	ReservedPorts      ports of ours that the kernel shall give to no outgoing connection
//	Listeners, Owners  the sockets that take requests, and whose they are
//	DeleteStaleFlows   what conntrack knows of UDP flows that nobody serves any more
//	Lock               one agent per network namespace
//	Check...           the preflight: what is there, what is missing, and what to type about it
//
// The checks are functions of what they are given (a file system, a probe, a list of names) and decide nothing else, so
// each one is tested without root. They end in Items, which are for people.
package host
