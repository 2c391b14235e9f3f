package sync

// Events tells the authors of Services what is wrong with them where they look for it, which is not a node's log.
type Events interface {
	// Problem tells of a new one of a Service, uid being that of its object. It does not block; what cannot be told may be
	// lost, since the log has it.
	Problem(id ServiceID, uid string, p Problem)
}

// freshProblem is a problem that there was not before.
type freshProblem struct {
	Problem
	service ServiceID // zero for a problem of the sources
}

// announce tells of the new problems that are about a Service itself. That no address of a node is chosen for it, or that
// the node's pods are not known, was decided by whoever set the node up, and each node where it is so would tell its author
// the same.
func (r *Reconciler) announce(fresh []freshProblem) {
	if r.Events == nil {
		return
	}
	for _, p := range fresh {
		if p.Reason != NoAddress && p.Reason != NoPodNetwork && p.Object == "Service "+p.service.String() {
			r.Events.Problem(p.service, r.state.services[p.service].UID, p.Problem)
		}
	}
}
