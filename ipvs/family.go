package ipvs

import (
	"context"
	"errors"
	"fmt"
	"syscall"
)

// familyName is what IPVS calls itself in generic netlink.
const familyName = "IPVS"

// lookUpFamily asks the kernel for the number of a generic-netlink family, in a message numbered seq. A kernel that lacks it
// looks for a module that has it first.
func lookUpFamily(ctx context.Context, l link, seq uint32, name string) (uint16, error) {
	if err := l.send(appendFamilyRequest(nil, seq, name)); err != nil {
		return 0, fmt.Errorf("look up netlink family %s: %w", name, err)
	}
	for {
		b, err := l.receive(ctx, answerLimit)
		if err != nil {
			return 0, fmt.Errorf("look up netlink family %s: %w", name, err)
		}
		m, _, err := nextMessage(b)
		if err != nil {
			return 0, err
		}
		if m.seq != seq {
			continue
		}
		if m.typ != msgError {
			return decodeFamily(m)
		}
		err = m.failure()
		if errors.Is(err, syscall.ENOENT) {
			return 0, ErrNoIPVS
		}
		return 0, fmt.Errorf("look up netlink family %s: %w", name, err)
	}
}

// renew looks the number of IPVS up again, and reports whether it is another one: module ip_vs was unloaded since, and loaded.
// Whatever comes with the old number generic netlink itself refuses, with ENOENT (genl_rcv_msg, Linux 6.1), which IPVS says of a
// scheduler or a real server that it has not. Numbers are given in a circle, so the new one is not the old one by chance.
func (w *writer) renew(ctx context.Context) (bool, error) {
	seq := w.seq
	w.seq++
	family, err := lookUpFamily(ctx, w.link, seq, familyName)
	if err != nil || family == w.family {
		return false, err
	}
	w.family = family
	return true, nil
}

// again sends once more those of ops that were refused for the number of IPVS, if that is the reason: nothing of them was done. It
// fails if there is no IPVS any more, or no answer, and then that is their result.
func (w *writer) again(ctx context.Context, ops []Op, results []error) error {
	var refused []int
	for i, err := range results {
		if errors.Is(err, syscall.ENOENT) {
			refused = append(refused, i)
		}
	}
	if len(refused) == 0 {
		return nil
	}
	renewed, err := w.renew(ctx)
	if err != nil {
		for _, i := range refused {
			results[i] = &OpError{Op: ops[i], Err: err}
		}
		return err
	}
	if !renewed {
		return nil
	}
	some, second := make([]Op, len(refused)), make([]error, len(refused))
	for n, i := range refused {
		some[n] = ops[i]
	}
	_, err = w.batch(ctx, some, second) // not more than there was room for
	for n, i := range refused {
		results[i] = second[n]
	}
	return err
}
