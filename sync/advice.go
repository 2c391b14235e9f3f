package sync

// Advice tells the operator what to do about a problem of a kind: one or two sentences that hold for every problem of it.
// The Message of a Problem says what is wrong; this says who has to do something, and where.
func (r Reason) Advice() string {
	switch r {
	case Invalid:
		return "Correct the named object where it is written (kubectl edit, or the file): the message says which part, and what is done until then."
	case Unsupported:
		return "Take the part out of the Service, or choose what the message names instead: nothing on this node can make it work."
	case Conflict:
		return "Give one of the two Services another port: kube-ipvs ports --suggest 1 prints a free one. If the other one goes, this one takes the port over by itself."
	case NoAddress:
		return "Choose an address with --nodeport-addresses, or give the node one: kube-ipvs status says why each address does not serve. If this node is not meant to serve, leave it."
	case NoPodNetwork:
		return "Say which pods are this node's: --detect-local-mode=ClusterCIDR with --cluster-cidr, or one of the interface modes, or spec.podCIDRs in the Node object."
	case KernelRefused:
		return "Look at what the message quotes of the kernel. A scheduler or module that is missing has to be loaded on the node (modprobe ip_vs_NAME), or another one chosen; the agent tries again by itself."
	case ListenFailed:
		return "Find out who has the port (ss -ltnp on the node) and end it, or give the Service another healthCheckNodePort; the agent tries again by itself."
	case PortInUse:
		return "Stop the program that listens, or give the Service another port: kube-ipvs ports names the program. --port-conflict says who of the two has the port meanwhile."
	case OutOfRange:
		return "Give the Service a port within the API server's range, or tell the agent that range with --service-node-port-range."
	case OverLimit:
		return "Delete what nobody needs, or let the node serve more: the message names the flag of the agent. The oldest Services come first, by their creationTimestamp, on every node."
	}
	return ""
}
