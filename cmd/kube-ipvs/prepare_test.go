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

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"

	"github.com/kube-ipvs/kube-ipvs/host"
)

// procSys is a directory with all sysctls that serving needs, at these values.
func procSys(t *testing.T, value string) host.Sysctls {
	t.Helper()
	s := host.Sysctls{Root: t.TempDir(), StateDir: filepath.Join(t.TempDir(), "none")}
	for _, w := range append(host.WantedSysctls(host.KernelRelease()), host.ForwardIPv4()) {
		file := filepath.Join(s.Root, strings.ReplaceAll(w.Name, ".", "/"))
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(value+"\n"), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// The agent's container has a read-only /proc/sys: as long as the init step has set everything, nothing is opened for
// writing and no record is made.
func TestWhatThePreparationHasSetIsNotWrittenAgain(t *testing.T) {
	s := procSys(t, "1")
	changed, err := (&options{}).setSysctls(t.Context(), s, logr.Discard())
	if changed != 0 || err != nil {
		t.Errorf("%d were changed, %v", changed, err)
	}
	if _, err := os.Stat(s.StateDir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the state directory was made: %v", err)
	}
}

func TestPreparationSetsAndRecordsSysctls(t *testing.T) {
	s := procSys(t, "0")
	changed, err := (&options{initOnly: true}).setSysctls(t.Context(), s, logr.Discard())
	if want := len(host.WantedSysctls(host.KernelRelease())) + 1; changed != want || err != nil {
		t.Errorf("%d were changed, want %d; %v", changed, want, err)
	}
	restored, err := s.Restore(t.Context())
	if want := len(host.WantedSysctls(host.KernelRelease())); len(restored) != want || err != nil {
		t.Errorf("%v were restored, want %d; %v", restored, want, err)
	}
}

func TestReadOnlySysctlNamesThePreparation(t *testing.T) {
	readOnly := fmt.Errorf("sysctl a=1: %w", &fs.PathError{Op: "open", Path: "/proc/sys/a", Err: syscall.EROFS})
	for _, c := range []struct {
		o    options
		err  error
		want string
	}{
		{options{}, readOnly, "kube-ipvs run --init-only first"},
		{options{initOnly: true}, readOnly, "--init-only needs a writable /proc/sys"},
		{options{}, fs.ErrPermission, fs.ErrPermission.Error()},
	} {
		got := c.o.explainReadOnly(c.err)
		if !errors.Is(got, c.err) || !strings.Contains(got.Error(), c.want) {
			t.Errorf("%v does not say %q", got, c.want)
		}
		if errors.Is(c.err, fs.ErrPermission) && got != c.err { //nolint:errorlint // unchanged is meant
			t.Errorf("%v was changed to %v", c.err, got)
		}
	}
}

func TestInitOnlyIsRefusedInAConfigFile(t *testing.T) {
	for _, command := range []string{"run", "check"} {
		path := filepath.Join(t.TempDir(), "config.yaml")
		if err := os.WriteFile(path, []byte("init-only: true\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, stderr, code := kubeIPVS(t, "", command, "--config", path); code != 1 || !strings.Contains(stderr, "init-only") {
			t.Errorf("%s: exit code %d, %q", command, code, stderr)
		}
	}
}

// A record that cannot be read is one of the reasons; --init-only goes on.
func TestPreparationTellsThatPortsCannotBeReserved(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "reserved-ports.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := &options{initOnly: true, stateDir: dir}
	var told []string
	o.reserveRange(funcr.New(func(_, args string) { told = append(told, args) }, funcr.Options{}))
	if len(told) != 1 || !strings.Contains(told[0], "reserved-ports.json") {
		t.Errorf("%q is told, want the record's name", told)
	}
}
