// Package floor measures what writing to IPVS costs without anything around it: a batched netlink writer, single calls by moby/ipvs, and
// ipvsadm --restore, each in a fresh network namespace; and ipvs.Apply beside them.
package floor

import (
	"context"

	"github.com/kube-ipvs/kube-ipvs/e2e/bench/objects"
	"github.com/kube-ipvs/kube-ipvs/e2e/bench/result"
)

// Run writes what size Services of the plan need, rounds times each way, interleaved, and returns one sample (result.Programming) for each.
func Run(ctx context.Context, plan objects.Plan, size, rounds int, emit func(result.Sample)) error {
	panic("to be written")
}
