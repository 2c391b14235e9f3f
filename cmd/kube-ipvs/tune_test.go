package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr"

	"github.com/kube-ipvs/kube-ipvs/host"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
)

func TestSettingsOfIPVSThatWereLostAreSetAgainAndNoOthers(t *testing.T) {
	s, kernel := procSys(t, "0"), ipvsfake.New()
	o := &options{timeouts: ipvs.Timeouts{UDP: 30 * time.Second}}
	for range 2 {
		if err := o.tuneAgain(t.Context(), kernel, s, logr.Discard()); err != nil {
			t.Fatal(err)
		}
	}
	for _, w := range append(host.WantedSysctls(host.KernelRelease()), host.ForwardIPv4()) {
		text, err := os.ReadFile(filepath.Join(s.Root, strings.ReplaceAll(w.Name, ".", "/")))
		want := w.Value
		if w == host.ForwardIPv4() { // which module ip_vs does not take with it
			want = "0"
		}
		if err != nil || strings.TrimSpace(string(text)) != want {
			t.Errorf("%s is %q, %v, want %s", w.Name, text, err, want)
		}
	}
	now, err := kernel.Timeouts(t.Context())
	if want := (ipvs.Timeouts{TCP: 15 * time.Minute, TCPFin: 2 * time.Minute, UDP: 30 * time.Second}); err != nil || now != want {
		t.Errorf("timeouts %v, %v, want %v", now, err, want)
	}
	if n := kernel.Writes(); n != 1 {
		t.Errorf("the timeouts were written %d times, want once", n)
	}
}

// Whoever chose no timeouts may set them by hand.
func TestTimeoutsThatNoFlagAsksForAreNotEvenRead(t *testing.T) {
	kernel := ipvsfake.New()
	kernel.Unload() // every question would fail
	if err := new(options).tuneAgain(t.Context(), kernel, procSys(t, "1"), logr.Discard()); err != nil {
		t.Error(err)
	}
}

func TestAnAgentThatCannotSetWhatWasLostNamesSettingsAndMend(t *testing.T) {
	lost := fmt.Errorf("sysctl record: %w", &fs.PathError{Op: "mkdir", Path: "/run/kube-ipvs", Err: syscall.EROFS})
	err := explainLost(lost)
	for _, want := range []string{"net.ipv4.vs.conntrack=1", "masqueraded", "delete the agent's Pod", "kube-ipvs run --init-only", "read-only file system"} {
		if !errors.Is(err, syscall.EROFS) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
	if err := explainLost(fs.ErrPermission); !errors.Is(err, fs.ErrPermission) || strings.Contains(err.Error(), "Pod") {
		t.Error(err)
	}
	if err := explainLost(nil); err != nil {
		t.Error(err)
	}
}
