package sync

import (
	"context"

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
