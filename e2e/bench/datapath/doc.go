// Package datapath measures requests through a node port, against the same pod asked directly and against a virtual server made by hand.
//
//	client ── network A ── node1, rules of the subject ── pod        the subject's network: by node port, and the pod's own address
//	client ── network A ── node1, rules by hand ───────── pod        a network like it: ipvsadm and one masquerade rule
//	  └ sends, receives ┐                  ┌ receives, sends ┘
//	                    └── one thread ────┘
//
// One thread is both the client and the servers of the pods. Its sockets never block: what is sent goes through all namespaces within
// the call that sends (veth hands it on in the same softirq), so that it is there when the other side is read, and neither a
// scheduler nor a poller of a language's runtime is timed, but the kernel's path of packets. Where the kernel puts packets off, the thread
// waits for them.
//
// A request is 64 bytes and so is its answer. Requests and Latency are taken together, on a few connections that stay open and are used
// in turn, each request sent when the one before was answered. Connects are connections with one request, ended by the client with
// a reset: neither side keeps a port, and IPVS forgets after 10 s instead of 120 s.
//
// The sides of a pair take turns of 25 ms, every second time in the other order, and the pod is asked directly after both; a pair's rate is the
// median of its turns. On a busy host a guest stands still for milliseconds, which would make the ratio of two longer runs. The subject's network has one more route than a client outside of a cluster has: to the pods, by node1.
//
// # Hooks and rules
//
// What a packet passes on node1 is not guessed: nftables traces a connection from its first packet (meta nftrace), and each base chain that is
// entered counts as a hook, each rule that is looked at (whether it matches or not) as a rule; of a chain that is left early those up to the rule
// that left it. Rules of chains that a packet is sent to count, those of chains that it is not sent to do not. That is how it shows that
// IPVS takes a request at the input hook (priority 99), sends it on through output and postrouting, and that nat chains see only
// the first packet of a connection. The tables of legacy iptables cannot be traced: of these all chains on the way count with all
// of their rules, but not those that are jumped to, and the sample is marked AtLeast.
//
// The values are, in this order: of the packet that opens a connection, of its answer, of a later request, of that one's answer.
package datapath
