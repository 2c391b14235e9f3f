package ipvs

import (
	"context"
	"errors"
	"fmt"
	"syscall"
)

// familyName is what IPVS calls itself in generic netlink.
const familyName = "IPVS"

// lookUpFamily asks the kernel for the number of a generic-netlink family.
func lookUpFamily(ctx context.Context, l link, name string) (uint16, error) {
	const seq = 1
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
