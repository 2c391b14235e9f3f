package ipvs

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"syscall"
	"time"

	moby "github.com/moby/ipvs"
	"github.com/sirupsen/logrus"

	"github.com/kube-ipvs/kube-ipvs/frontend"
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

// ask makes one call of moby/ipvs and ends it when ctx does or after answerLimit. moby itself would wait for ever: it
// goes on after every receive time-out. Closing its socket is the only way to stop it, so the handle is given up then.
func (h *handle) ask(ctx context.Context, call func(*moby.Handle) error) error {
	m := h.moby
	limited, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	keep := context.AfterFunc(limited, m.Close)
	err := call(m)
	if keep() {
		if err != nil && !errors.Is(err, syscall.ESRCH) {
			// Answers may be left over.
			m.Close()
			h.moby = nil
		}
		return err
	}
	h.moby = nil
	if err := ctx.Err(); err != nil {
		return err
	}
	return errSilent
}

// mobyKey is what moby/ipvs needs to name a virtual server.
func mobyKey(key frontend.Key) *moby.Service {
	return &moby.Service{
		AddressFamily: addressFamily(key.Addr),
		Address:       key.Addr.AsSlice(),
		Protocol:      uint16(key.Protocol),
		Port:          key.Port,
	}
}

// fromMoby is a virtual server as read by moby/ipvs, without the kernel's own flag. ok is false for those that have no
// address, but a firewall mark, and for protocols with no place in a key.
func fromMoby(s *moby.Service) (key frontend.Key, v VirtualServer, ok bool) {
	addr, valid := netip.AddrFromSlice(s.Address)
	if !valid || s.Protocol > math.MaxUint8 {
		return key, v, false
	}
	v = VirtualServer{Scheduler: s.SchedName, Flags: Flags(s.Flags) &^ hashed}
	if v.Flags&Persistent != 0 {
		var mask [4]byte
		putU32(mask[:], s.Netmask)
		v.PersistenceTimeout = s.Timeout
		v.PersistencePrefix = prefixOf(addr, mask)
	}
	return frontend.Key{Addr: addr, Protocol: frontend.Protocol(s.Protocol), Port: s.Port}, v, true
}

func (h *handle) Timeouts(ctx context.Context) (Timeouts, error) {
	if err := h.begin(ctx); err != nil {
		return Timeouts{}, fmt.Errorf("ipvs: read timeouts: %w", err)
	}
	defer h.end()
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
	if err := h.begin(ctx); err != nil {
		return fmt.Errorf("ipvs: set timeouts: %w", err)
	}
	defer h.end()
	err := h.ask(ctx, func(m *moby.Handle) error {
		return m.SetConfig(&moby.Config{TimeoutTCP: t.TCP, TimeoutTCPFin: t.TCPFin, TimeoutUDP: t.UDP})
	})
	if err != nil {
		return fmt.Errorf("ipvs: set timeouts: %w", err)
	}
	return nil
}
