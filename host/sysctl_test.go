package host

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	conntrack = "net.ipv4.vs.conntrack"
	nodest    = "net.ipv4.vs.expire_nodest_conn"
)

// fakeRoot is a directory that looks like /proc/sys, and a state directory that does not exist yet.
func fakeRoot(t *testing.T, values map[string]string) Sysctls {
	t.Helper()
	s := Sysctls{Root: t.TempDir(), StateDir: filepath.Join(t.TempDir(), "state")}
	setValue(t, s, bootID, "boot-1")
	for name, value := range values {
		setValue(t, s, name, value)
	}
	return s
}

func setValue(t *testing.T, s Sysctls, name, value string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(s.path(name)), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.path(name), []byte(value+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
}

func mustSet(t *testing.T, s Sysctls, changed int, wanted ...Sysctl) {
	t.Helper()
	got, err := s.Set(t.Context(), wanted)
	if err != nil {
		t.Fatal(err)
	}
	if got != changed {
		t.Errorf("%d settings were changed, want %d", got, changed)
	}
}

func wantValue(t *testing.T, s Sysctls, name, want string) {
	t.Helper()
	got, err := s.read(name)
	if err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Errorf("%s is %q, want %q", name, got, want)
	}
}

func wantRestored(t *testing.T, s Sysctls, want ...Restoration) {
	t.Helper()
	got, err := s.Restore(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if _, err := os.Stat(s.recordPath()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the record is still there: %v", err)
	}
}

func TestSettingsThatDifferAreWrittenAndGivenBack(t *testing.T) {
	s := fakeRoot(t, map[string]string{conntrack: "0", nodest: "1"})
	mustSet(t, s, 1, Sysctl{Name: conntrack, Value: "1"}, Sysctl{Name: nodest, Value: "1"})
	wantValue(t, s, conntrack, "1")
	// An agent that is not root reads what a preparation by root has written; nobody else writes it.
	info, err := os.Stat(s.recordPath())
	if err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("record: %v, %v", info, err)
	}
	wantRestored(t, s, Restoration{Name: conntrack, Restored: true, Reason: "1 → 0"})
	wantValue(t, s, conntrack, "0")
	wantValue(t, s, nodest, "1")
	wantRestored(t, s)
}

func TestARestartWritesNothing(t *testing.T) {
	s := fakeRoot(t, map[string]string{conntrack: "0"})
	mustSet(t, s, 1, Sysctl{Name: conntrack, Value: "1"})
	record, err := os.Stat(s.recordPath())
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{s.path(conntrack), s.recordPath()} {
		if err := os.Chmod(path, 0o400); err != nil {
			t.Fatal(err)
		}
	}
	mustSet(t, s, 0, Sysctl{Name: conntrack, Value: "1"})
	again, err := os.Stat(s.recordPath())
	if err != nil || !os.SameFile(record, again) || !again.ModTime().Equal(record.ModTime()) {
		t.Errorf("the record was written again (%v)", err)
	}
}

func TestNothingIsRecordedWhereNothingDiffers(t *testing.T) {
	s := fakeRoot(t, map[string]string{conntrack: "1"})
	mustSet(t, s, 0, Sysctl{Name: conntrack, Value: "1"})
	if _, err := os.Stat(s.StateDir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the state directory was made: %v", err)
	}
}

func TestTheValueBeforeTheFirstChangeIsGivenBack(t *testing.T) {
	s := fakeRoot(t, map[string]string{conntrack: "7"})
	mustSet(t, s, 1, Sysctl{Name: conntrack, Value: "1"})
	setValue(t, s, conntrack, "0") // somebody turns it back, and the agent restarts
	mustSet(t, s, 1, Sysctl{Name: conntrack, Value: "1"})
	wantRestored(t, s, Restoration{Name: conntrack, Restored: true, Reason: "1 → 7"})
}

func TestAValueThatSomebodyElseSetIsLeft(t *testing.T) {
	s := fakeRoot(t, map[string]string{conntrack: "0", nodest: "0", "net.ipv4.vs.gone": "0"})
	mustSet(t, s, 3, Sysctl{Name: conntrack, Value: "1"}, Sysctl{Name: nodest, Value: "1"}, Sysctl{Name: "net.ipv4.vs.gone", Value: "1"})
	setValue(t, s, conntrack, "5")
	setValue(t, s, nodest, "0")
	if err := os.Remove(s.path("net.ipv4.vs.gone")); err != nil {
		t.Fatal(err)
	}
	wantRestored(t, s,
		Restoration{Name: conntrack, Reason: "it is 5, which is neither ours (1) nor what it was (0)"},
		Restoration{Name: nodest, Reason: "it is 0 already, as before"},
		Restoration{Name: "net.ipv4.vs.gone", Reason: "the kernel has it no more"})
	wantValue(t, s, conntrack, "5")
}

func TestASettingToKeepIsNeverGivenBack(t *testing.T) {
	s := fakeRoot(t, map[string]string{"net.ipv4.ip_forward": "0"})
	mustSet(t, s, 1, ForwardIPv4())
	wantRestored(t, s)
	wantValue(t, s, "net.ipv4.ip_forward", "1")
}

func TestARecordFromBeforeABootIsIgnored(t *testing.T) {
	s := fakeRoot(t, map[string]string{conntrack: "0"})
	mustSet(t, s, 1, Sysctl{Name: conntrack, Value: "1"})
	setValue(t, s, bootID, "boot-2")
	got, err := s.Restore(t.Context())
	if err != nil || len(got) != 0 {
		t.Errorf("got %v, %v", got, err)
	}
	wantValue(t, s, conntrack, "1")
}

func TestAMissingSettingStopsNoOther(t *testing.T) {
	s := fakeRoot(t, map[string]string{conntrack: "0"})
	changed, err := s.Set(t.Context(), []Sysctl{{Name: nodest, Value: "1"}, {Name: conntrack, Value: "1"}})
	if changed != 1 || !errors.Is(err, ErrNoSysctl) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %d, %v", changed, err)
	}
	wantValue(t, s, conntrack, "1")
}

func TestWhatCannotBeRecordedIsNotChanged(t *testing.T) {
	s := fakeRoot(t, map[string]string{conntrack: "0"})
	// A link into nothing: there is no record to be read, and none can be written.
	if err := os.Symlink(filepath.Join(t.TempDir(), "none", "such"), s.StateDir); err != nil {
		t.Fatal(err)
	}
	if changed, err := s.Set(t.Context(), []Sysctl{{Name: conntrack, Value: "1"}}); changed != 0 || err == nil {
		t.Errorf("got %d, %v", changed, err)
	}
	wantValue(t, s, conntrack, "0")
}

func TestWhatCannotBeGivenBackStaysRecorded(t *testing.T) {
	s := fakeRoot(t, map[string]string{conntrack: "0", nodest: "0"})
	mustSet(t, s, 2, Sysctl{Name: conntrack, Value: "1"}, Sysctl{Name: nodest, Value: "1"})
	if err := errors.Join(os.Remove(s.path(conntrack)), os.Mkdir(s.path(conntrack), 0o755)); err != nil { // cannot be read
		t.Fatal(err)
	}
	if got, err := s.Restore(t.Context()); err == nil || len(got) != 1 || got[0].Name != nodest {
		t.Errorf("got %v, %v, want %s alone and an error", got, err, nodest)
	}
	if err := os.Remove(s.path(conntrack)); err != nil {
		t.Fatal(err)
	}
	setValue(t, s, conntrack, "1")
	wantRestored(t, s, Restoration{Name: conntrack, Restored: true, Reason: "1 → 0"})
}

func TestWantedSysctlsAreThoseThatNodePortsNeed(t *testing.T) {
	always := []string{"net.ipv4.vs.conntrack=1", "net.ipv4.vs.expire_nodest_conn=1", "net.ipv4.vs.expire_quiescent_template=1"}
	reuse := append(slices.Clone(always), "net.ipv4.vs.conn_reuse_mode=0")
	for release, want := range map[string][]string{
		"6.1.0-56-amd64": always, "5.9.0": always, "5.10.0-8-cloud": always, "10.0": always, "": always, "unknown": always,
		"5.8.18": reuse, "5.4.0-200-generic": reuse, "4.18.0-553.el8": reuse,
	} {
		var got []string
		for _, s := range WantedSysctls(release) {
			got = append(got, s.String())
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got)\n%s", release, diff)
		}
	}
	if s := ForwardIPv4(); s.String() != "net.ipv4.ip_forward=1" || !s.Keep {
		t.Errorf("forwarding is %v, kept %v", s, s.Keep)
	}
}

func TestABrokenRecordIsAnError(t *testing.T) {
	s := fakeRoot(t, map[string]string{conntrack: "0"})
	mustSet(t, s, 1, Sysctl{Name: conntrack, Value: "1"})
	if err := os.WriteFile(s.recordPath(), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Restore(t.Context()); err == nil {
		t.Error("restored from a broken record")
	}
	if _, err := s.Set(t.Context(), []Sysctl{{Name: conntrack, Value: "2"}}); err == nil {
		t.Error("set beside a broken record")
	}
}

// Who may write the record must not write with the privileges of who gives the settings back.
func TestARecordThatNamesWhatIsNotOfTheNetworkGivesNothingBack(t *testing.T) {
	for _, name := range []string{"kernel.core_pattern", "net.//.kernel.core_pattern", "//.kernel.core_pattern", "net", "net.", "", "netx.ipv4"} {
		s := fakeRoot(t, map[string]string{conntrack: "1", "kernel.core_pattern": "core"})
		values := map[string]recorded{conntrack: {"0", "1"}, name: {"|/tmp/evil", "core"}}
		if err := s.store(sysctlRecord{BootID: "boot-1", Values: values}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Restore(t.Context()); err == nil || !strings.Contains(err.Error(), "remove it") {
			t.Errorf("%q is given back: %v", name, err)
		}
		wantValue(t, s, "kernel.core_pattern", "core")
		wantValue(t, s, conntrack, "1")
	}
}

func TestNothingIsWrittenAfterTheContextHasEnded(t *testing.T) {
	s := fakeRoot(t, map[string]string{conntrack: "0"})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if changed, err := s.Set(ctx, []Sysctl{{Name: conntrack, Value: "1"}}); changed != 0 || !errors.Is(err, context.Canceled) {
		t.Errorf("got %d, %v", changed, err)
	}
	wantValue(t, s, conntrack, "0")
}

func TestADotInTheNameOfAnInterfaceIsWrittenAsASlash(t *testing.T) {
	if got := sysctlFile("net.ipv6.conf.eth0/100.forwarding"); got != "net/ipv6/conf/eth0.100/forwarding" {
		t.Errorf("got %s", got)
	}
}
