package ipvs

import (
	"context"
	"fmt"
	"math"
	"syscall"
	"time"

	moby "github.com/moby/ipvs"
	"github.com/sirupsen/logrus"
)

// openMoby opens a moby/ipvs handle in the namespace of the thread. The family has been looked up before, so moby's own
// look-up, whose failure it would only log, succeeds. It runs "modprobe ip_vs" first, once in a process and without any
// effect, since the module is there; that it logs a warning where no modprobe is installed is kept from the user.
func openMoby() (*moby.Handle, error) {
	level := logrus.GetLevel()
	logrus.SetLevel(logrus.PanicLevel)
	defer logrus.SetLevel(level)
	return moby.New("")
}

// ask makes one call of moby/ipvs over a socket of its own and ends it when ctx does or after answerLimit. moby itself would
// wait for ever: it goes on after every receive time-out, and closing its socket is the only way to stop it.
func (h *handle) ask(ctx context.Context, call func(*moby.Handle) error) error {
	if err := h.begin(ctx); err != nil {
		return err
	}
	defer h.end()
	var m *moby.Handle
	if err := inNamespace(h.ns, func() (err error) { m, err = openMoby(); return err }); err != nil {
		return fmt.Errorf("moby/ipvs: %w", err)
	}
	limited, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	closes := context.AfterFunc(limited, m.Close)
	err := call(m)
	if closes() {
		m.Close()
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return errSilent
}

func (h *handle) Timeouts(ctx context.Context) (Timeouts, error) {
	var t Timeouts
	err := h.ask(ctx, func(m *moby.Handle) error {
		c, err := m.GetConfig()
		if err != nil {
			return err
		}
		t = Timeouts{TCP: c.TimeoutTCP, TCPFin: c.TimeoutTCPFin, UDP: c.TimeoutUDP}
		return nil
	})
	if err != nil {
		return Timeouts{}, fmt.Errorf("ipvs: read timeouts: %w", err)
	}
	return t, nil
}

func (h *handle) SetTimeouts(ctx context.Context, t Timeouts) error {
	for _, d := range []time.Duration{t.TCP, t.TCPFin, t.UDP} {
		// moby would cut a part of a second off, and what is less than one is 0 then and keeps the kernel's.
		if d < 0 || d%time.Second != 0 || d/time.Second > math.MaxInt32 {
			return fmt.Errorf("ipvs: set timeouts: %s is not a number of seconds: %w", d, syscall.EINVAL)
		}
	}
	err := h.ask(ctx, func(m *moby.Handle) error {
		return m.SetConfig(&moby.Config{TimeoutTCP: t.TCP, TimeoutTCPFin: t.TCPFin, TimeoutUDP: t.UDP})
	})
	if err != nil {
		return fmt.Errorf("ipvs: set timeouts: %w", err)
	}
	return nil
}
