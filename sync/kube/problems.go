package kube

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/kube-ipvs/kube-ipvs/sync"
)

// report collects the problems of one object.
type report struct {
	object   string
	problems []sync.Problem
}

// invalid reports a part that is not used while the node ports are served nevertheless.
func (r *report) invalid(format string, args ...any) {
	r.add(sync.Invalid, false, fmt.Sprintf(format, args...))
}

// skipped reports an invalid part because of which a node port is not served.
func (r *report) skipped(format string, args ...any) {
	r.add(sync.Invalid, true, fmt.Sprintf(format, args...))
}

func (r *report) add(reason sync.Reason, skipped bool, message string) {
	r.problems = append(r.problems, sync.Problem{Object: r.object, Reason: reason, Message: sync.Printable(message), Skipped: skipped})
}

// sortProblems makes the order independent of the order of the objects that the problems come from.
func sortProblems(problems []sync.Problem) {
	slices.SortStableFunc(problems, func(a, b sync.Problem) int {
		return cmp.Or(cmp.Compare(a.Object, b.Object), cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Message, b.Message))
	})
}

// tally counts equal faults within one object, so that ten thousand of them are one problem.
type tally map[string]*tallied

type tallied struct {
	count int
	// example is the smallest offender: whatever the order, the same one is named.
	example string
}

func (t tally) add(fault, offender string) {
	seen := t[fault]
	if seen == nil {
		seen = &tallied{example: offender}
		t[fault] = seen
	}
	seen.count++
	seen.example = min(seen.example, offender)
}

// reportTo writes one problem per fault.
func (t tally) reportTo(r *report) {
	for fault, seen := range t {
		if seen.count == 1 {
			r.invalid("endpoint address %q %s; it is not used", seen.example, fault)
			continue
		}
		r.invalid("%d endpoint addresses are not used, %q among them: each %s", seen.count, seen.example, fault)
	}
}
