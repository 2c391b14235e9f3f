package ipvs

import (
	"context"
	"fmt"
)

func (h *handle) Timeouts(ctx context.Context) (Timeouts, error) {
	var t Timeouts
	err := h.inTurn(ctx, func() (err error) {
		t, err = h.writer.timeouts(ctx)
		return err
	})
	if err != nil {
		return Timeouts{}, fmt.Errorf("ipvs: read timeouts: %w", err)
	}
	return t, nil
}

func (h *handle) SetTimeouts(ctx context.Context, t Timeouts) error {
	err := t.validate()
	if err == nil {
		err = h.inTurn(ctx, func() error { return h.writer.setTimeouts(ctx, t) })
	}
	if err != nil {
		return fmt.Errorf("ipvs: set timeouts: %w", err)
	}
	return nil
}
