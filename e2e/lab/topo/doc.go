// Package topo builds the network in which the data path is tried: hosts and pods as network namespaces of this
// process, with real servers and clients in them. It needs root, veth and bridges, and no other program.
//
//	            network A  10.1.0.0/24  fd01::/64
//	┌───────────────┬──────────────────┬─────────────┐
//	neta .2         neta .10           neta .11
//	Client          Node1              Node2              pods' routes between the nodes: over network A
//	netb .2         netb .10           netb .11
//	└───────────────┴──────────────────┴─────────────┘
//	            network B  10.2.0.0/24  fd02::/64
//	                pods .1            pods .1
//	                10.244.1.0/24      10.244.2.0/24
//	                fd44:1::/64        fd44:2::/64
//	                └ web-1 .2 …       └ web-2 .2 …
//
// The client has no route to the pods, as a client outside of a cluster has none. Nodes forward. Nothing is
// masqueraded and nothing filters. Duplicate address detection is off, so that addresses work at once.
//
// [Topology.AddHostServer] puts a server on a node's own addresses, as a pod with hostNetwork is one;
// [Topology.BridgeNetfilter] sets net.bridge.bridge-nf-call-*; [Host.AddVirtualAddress] and [Host.Announce] move an address
// between nodes as keepalived does.
//
// Servers and clients run in this process: their sockets are made on a thread that is in the namespace at that moment
// and stay there. [Host.Command] starts other programs in a namespace.
package topo
