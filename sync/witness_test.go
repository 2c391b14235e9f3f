package sync

import (
	"context"
	"testing"

	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

// witness sees each operation before the kernel does.
type witness struct {
	ipvs.Handle
	saw func(ipvs.Op)
}

func (w *witness) Do(ctx context.Context, ops []ipvs.Op) []error {
	for _, op := range ops {
		w.saw(op)
	}
	return w.Handle.Do(ctx, ops)
}

// handsOff fails the test with each operation on a virtual server of somebody else, also with one that is undone afterwards: its
// connections and counters would not come back.
func handsOff(t *testing.T, foreign ipvs.Table) (saw func(ipvs.Op)) {
	return func(op ipvs.Op) {
		if _, is := foreign[op.Key]; is {
			t.Errorf("%s, which is foreign", op)
		}
	}
}
