// Package suite judges the agent on a cluster, by what clients of node ports see:
//
//	cases ─► API server: Services, Pods, Deployments     ─► agents ─► kernel of the nodes
//	      ─► Probe: requests from clients, nodes and pods ─► who answered, and whom it saw
//
// A [Provider] is such a cluster. What only some of them can do has interfaces of its own ([Agents], [Addresses],
// [APIServer], [Proxies], [Shell], [Stopwatch]), which cases name that need it. The provider lab, in package labcluster, is a real
// control plane on the host's loopback and a guest in which network namespaces are the nodes.
//
// The cases are tests: those with the tag cluster run with the provider lab. Each has a namespace of its own, and a
// promise for a name.
package suite
