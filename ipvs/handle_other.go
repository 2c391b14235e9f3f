//go:build !linux

package ipvs

import (
	"errors"
	"fmt"
)

// Open fails with errors.ErrUnsupported: IPVS is part of Linux.
func Open(Options) (Handle, error) {
	return nil, fmt.Errorf("ipvs: open: %w", errors.ErrUnsupported)
}

// OpenStats fails with errors.ErrUnsupported too.
func OpenStats(Options) (StatsReader, error) {
	return nil, fmt.Errorf("ipvs: open reader: %w", errors.ErrUnsupported)
}
