package ipvs

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"syscall"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// protocolNone is no transport protocol: the number is set aside for experiments (RFC 3692), so that no packet matches a
// virtual server of it.
const protocolNone frontend.Protocol = 253

func probeKey() frontend.Key {
	return frontend.Key{Addr: netip.IPv6Unspecified(), Protocol: protocolNone}
}

// ProbeScheduler asks for a virtual server that cannot be made: the kernel looks the scheduler up, and loads its module
// for that, before it refuses a persistence prefix of length 0 for IPv6. So ENOENT means that it has no such scheduler
// and EINVAL that it has, and there is never anything to take away again.
func (h *handle) ProbeScheduler(ctx context.Context, name string) error {
	op := Op{
		Verb:    AddVirtual,
		Key:     probeKey(),
		Virtual: VirtualServer{Scheduler: name},
	}
	if !ValidSchedulerName(name) {
		// It must not reach the module loader.
		return &OpError{Op: op, Err: syscall.ENOENT}
	}
	if err := h.begin(ctx); err != nil {
		return fmt.Errorf("ipvs: probe scheduler %s: %w", name, err)
	}
	defer h.end()
	err := h.probe(ctx, op)
	switch {
	case errors.Is(err, syscall.EINVAL):
		return nil
	case errors.Is(err, syscall.EAFNOSUPPORT):
		return h.probeIPv4(ctx, op)
	}
	return err
}

// probe sends the request that cannot succeed, once more if IPVS goes by another number than before.
func (h *handle) probe(ctx context.Context, op Op) error {
	err := h.probeOnce(ctx, op)
	if !errors.Is(err, syscall.ENOENT) {
		return err
	}
	renewed, lookErr := h.writer.renew(ctx)
	switch {
	case lookErr != nil:
		h.dropSocket()
		return &OpError{Op: op, Err: lookErr}
	case renewed:
		return h.probeOnce(ctx, op)
	}
	return err
}

// probeOnce sends the request. Should a kernel make the virtual server after all, it is deleted.
func (h *handle) probeOnce(ctx context.Context, op Op) error {
	w := h.writer
	seq := w.seq
	w.seq++
	w.buf = appendProbe(w.buf[:0], w.family, seq, &op)
	results := make([]error, 1)
	if err := w.exchange(ctx, seq, []Op{op}, results); err != nil {
		h.dropSocket()
	}
	if results[0] == nil {
		return h.deleteProbe(ctx, op)
	}
	return results[0]
}

// probeIPv4 is for kernels whose IPVS has no IPv6: there is no request that fails after the look-up, so a virtual
// server that matches nothing is made and deleted.
func (h *handle) probeIPv4(ctx context.Context, op Op) error {
	op.Key.Addr = netip.IPv4Unspecified()
	results := make([]error, 1)
	if _, err := h.writer.write(ctx, []Op{op}, results); err != nil {
		h.dropSocket()
		return err
	}
	if results[0] != nil && !IsExist(results[0]) {
		return results[0]
	}
	return h.deleteProbe(ctx, op)
}

func (h *handle) deleteProbe(ctx context.Context, op Op) error {
	results := make([]error, 1)
	if _, err := h.writer.write(ctx, []Op{{Verb: DelVirtual, Key: op.Key}}, results); err != nil {
		h.dropSocket()
	}
	return results[0]
}
