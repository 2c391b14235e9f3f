package main

import (
	"context"
	"fmt"
	"time"

	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

const (
	// lookForLeaving is how often it is looked whether a real server that was replaced is still there.
	lookForLeaving = time.Second
	// leavePatience is how long all of them may take. kube-ipvs looks at many departing real servers each half a minute at least.
	leavePatience = 90 * time.Second
)

// leavers are the virtual servers that may have real servers that were replaced. A program drains them: it goes on reading and
// writing after a change that is there.
type leavers map[frontend.Key]struct{}

// add adds those of a change.
func (l leavers) add(keys []frontend.Key) {
	for _, key := range keys {
		l[key] = struct{}{}
	}
}

// await returns when no virtual server has more real servers than it should, or after patience: then it reports false. Of all of
// them, one that is not done is asked for at a time: most are, once that is.
func (l leavers) await(ctx context.Context, kernel ipvs.Reader, should int, patience time.Duration) (bool, error) {
	deadline := time.Now().Add(patience)
	for key := range l {
		for {
			entry, _, err := kernel.Get(ctx, key)
			if err != nil {
				return false, fmt.Errorf("look who leaves %s: %w", key, err)
			}
			if len(entry.Reals) <= should {
				delete(l, key)
				break
			}
			if time.Now().After(deadline) {
				return false, nil
			}
			if err := pause(ctx, lookForLeaving); err != nil {
				return false, err
			}
		}
	}
	return true, nil
}
