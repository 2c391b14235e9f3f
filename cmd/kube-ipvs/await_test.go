package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr/funcr"

	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/host"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

// The errors are those that the parts give, wrapped as they wrap them.
func TestWhatMayComeIsWaitedForAndNothingElse(t *testing.T) {
	sysctl := fmt.Errorf("sysctl net.ipv4.vs.conntrack: %w: %w", host.ErrNoSysctl, &fs.PathError{Op: "open", Path: "/proc/sys/net/ipv4/vs/conntrack", Err: syscall.ENOENT})
	noNFT := fmt.Errorf("nftables: %w: is nft installed, and may the agent use it (CAP_NET_ADMIN)?", &exec.Error{Name: "nft", Err: exec.ErrNotFound})
	readOnly := fmt.Errorf("sysctl net.ipv4.vs.conntrack=1: %w", &fs.PathError{Op: "open", Path: "/proc/sys/net/ipv4/vs/conntrack", Err: syscall.EROFS})
	for _, c := range []struct {
		name  string
		err   error
		wants []string // words of the reason; none ends the agent
	}{
		{"nothing", nil, nil},
		{"no IPVS", fmt.Errorf("ipvs: open: %w", ipvs.ErrNoIPVS), []string{"no IPVS", "modprobe ip_vs on the node"}},
		{"no IPVS, and a modprobe that fails", fmt.Errorf("%w; loading module ip_vs failed: %v", ipvs.ErrNoIPVS, exec.ErrNotFound), []string{"modprobe ip_vs on the node"}}, //nolint:errorlint // as openKernel
		{"no default scheduler", missingScheduler("wlc"), []string{`scheduler "wlc"`, "modprobe ip_vs_wlc on the node", "choose another"}},
		{"neither the scheduler nor a sysctl", errors.Join(missingScheduler("wlc"), sysctl), []string{"modprobe ip_vs_wlc"}},
		{"no sysctls of IPVS", errors.Join(sysctl, sysctl), []string{"net.ipv4.vs.conntrack", "CONFIG_IP_VS_NFCT"}},
		{"no nft", noNFT, []string{"no program nft", "install package nftables on the node"}},
		{"no nftables", fmt.Errorf("nftables: reading the generation: %w: %w", filter.ErrNoNFTables, syscall.EINVAL), []string{"modprobe nf_tables on the node"}},

		{"no privilege", &ipvs.OpError{Err: syscall.EPERM}, nil},
		{"no privilege, nor the scheduler", errors.Join(missingScheduler("wlc"), syscall.EPERM), nil},
		{"a directory that may not be read", fs.ErrPermission, nil},
		{"a read-only /proc/sys", (&options{}).explainReadOnly(readOnly), nil},
		{"a read-only /proc/sys, and no scheduler", errors.Join(missingScheduler("wlc"), readOnly), nil},
		{"an address family that is refused", fmt.Errorf("open a generic netlink socket: %w", syscall.EAFNOSUPPORT), nil},
		{"another file that is not there", &fs.PathError{Op: "open", Path: "/run/kube-ipvs", Err: syscall.ENOENT}, nil},
		{"another agent", errors.New("another kube-ipvs runs in this network namespace"), nil},
		{"the end", context.Canceled, nil},
	} {
		reason := lacking(c.err)
		if (reason != "") != (len(c.wants) > 0) || strings.Contains(reason, "\n") {
			t.Errorf("%s: %q", c.name, reason)
		}
		for _, want := range c.wants {
			if !strings.Contains(reason, want) {
				t.Errorf("%s: %q does not say %q", c.name, reason, want)
			}
		}
	}
}

// waiting is an await of which everything is remembered.
type waiting struct {
	began      time.Time
	log, heard []string
	tries      []time.Duration // when, since the beginning
}

// until awaits a try that gives these errors, the last one for ever.
func (w *waiting) until(ctx context.Context, errs ...error) error {
	w.began = time.Now()
	log := funcr.New(func(_, args string) { w.log = append(w.log, args) }, funcr.Options{})
	return await(ctx, log, func(lacks string) { w.heard = append(w.heard, lacks) }, func(context.Context) error {
		n := min(len(w.tries), len(errs)-1)
		w.tries = append(w.tries, time.Since(w.began))
		return errs[n]
	})
}

func (w *waiting) said(t *testing.T, wants ...string) {
	t.Helper()
	for i, want := range wants {
		if i >= len(w.log) || !strings.Contains(w.log[i], want) {
			t.Fatalf("line %d does not say %q:\n%s", i, want, strings.Join(w.log, "\n"))
		}
	}
	if len(w.log) != len(wants) {
		t.Errorf("%d lines, want %d:\n%s", len(w.log), len(wants), strings.Join(w.log, "\n"))
	}
}

func TestTheLogHasALineForEachReasonAndNotForEachTry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		noNFT := &exec.Error{Name: "nft", Err: exec.ErrNotFound}
		errs := append(slices.Repeat([]error{ipvs.ErrNoIPVS}, 9), noNFT, noNFT, nil)
		var w waiting
		if err := w.until(t.Context(), errs...); err != nil || len(w.tries) != len(errs) {
			t.Errorf("%v after %d tries", err, len(w.tries))
		}
		w.said(t, "modprobe ip_vs", "install package nftables", "has what serving needs")
		if want := []string{lacking(ipvs.ErrNoIPVS), lacking(noNFT)}; !slices.Equal(w.heard, want) {
			t.Errorf("told %q, want %q", w.heard, want)
		}
		least := time.Second
		for i := range w.tries[1:] {
			pause := w.tries[i+1] - w.tries[i]
			if pause < least || pause > least+least/10 {
				t.Errorf("try %d came %s after the one before, want %s and a tenth of it at most", i+1, pause, least)
			}
			least = min(2*least, 10*time.Second)
		}
	})
}

func TestWhoHasEverythingWaitsForNothingAndSaysNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w waiting
		if err := w.until(t.Context(), nil); err != nil || time.Since(w.began) != 0 || len(w.heard) != 0 {
			t.Errorf("%v after %s, told %q", err, time.Since(w.began), w.heard)
		}
		w.said(t)
	})
}

func TestWhatNobodyMendsEndsTheWaitAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w waiting
		if err := w.until(t.Context(), syscall.EPERM); !errors.Is(err, syscall.EPERM) || time.Since(w.began) != 0 {
			t.Errorf("%v after %s", err, time.Since(w.began))
		}
		w = waiting{}
		if err := w.until(t.Context(), ipvs.ErrNoIPVS, ipvs.ErrNoIPVS, syscall.EROFS, nil); !errors.Is(err, syscall.EROFS) || len(w.tries) != 3 {
			t.Errorf("%v after %d tries", err, len(w.tries))
		}
	})
}

func TestAWaitEndsWithItsContextAndSaysWhatFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(100*time.Second+time.Millisecond, cancel)
		var w waiting
		err := w.until(ctx, ipvs.ErrNoIPVS)
		if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "modprobe ip_vs") || time.Since(w.began) != 100*time.Second+time.Millisecond {
			t.Errorf("%v after %s", err, time.Since(w.began))
		}
	})
}
