// Package nodes makes the topology of package topo the nodes of a real cluster. It runs inside a guest that has a
// [lab.Network], while the API server and the tests are on the host:
//
//	host                                 guest, this process
//	────                                 ───────────────────
//	kube-apiserver ◄── pods, status ───► kubelet of node1 and node2, scheduler ─► topo.Pod, topo.HostServer
//	               ◄── watches ───────── kube-ipvs run, kube-proxy, in the nodes' namespaces
//	test ─► Client ── forwarded port ──► Server: ask, load, hold, agents, addresses, commands
//
// The kubelet knows what Services can tell: a Pod gets addresses of both families and answers there with its own name,
// the annotation [ReadyAnnotation] is its readiness probe, and one that is deleted goes through its preStop sleep,
// finishes what it serves, and is gone at the latest when its grace period is over. Images and commands are not looked at.
//
// The package judges nothing: what is right is for the tests to say.
package nodes
