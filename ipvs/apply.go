package ipvs

import (
	"context"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// Result is what became of a plan.
type Result struct {
	// Done has the operations that the kernel acknowledged, as they were done: an AddReal that met an existing server
	// stands here as the SetReal that took its place. Committing them to the table before gives the kernel's table.
	Done Plan
	// Failed has the operations that were refused for a reason that is not expected.
	Failed []*OpError
	// Uncertain has the virtual servers that are not as the plan assumed, or whose state is unknown: read them again.
	Uncertain []frontend.Key
}

// Apply carries out a plan and is the one place that knows which errors are expected:
//
//	add    EEXIST                 somebody was there first: set it instead
//	set    ESRCH or ENOENT        it is gone: nothing done, uncertain
//	add    ESRCH (real server)    its virtual server is gone: nothing done, uncertain
//	delete ESRCH or ENOENT        it is gone already: done
//	any    ErrUnknown             uncertain
//
// Everything else is a failure, and the virtual server is uncertain too. Operations on a real server are not sent once
// the operation that makes its virtual server has failed. When ctx ends, what was not sent is neither done nor failed.
func Apply(ctx context.Context, h Handle, plan Plan) Result {
	return Result{}
}
