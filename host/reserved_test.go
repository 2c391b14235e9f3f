package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// portsOf reads a list of ports as the kernel prints it.
func portsOf(t testing.TB, text string) []frontend.PortRange {
	t.Helper()
	s := new(portSet)
	if err := s.UnmarshalText([]byte(text)); err != nil {
		t.Fatal(err)
	}
	return s.ranges()
}

func textOf(ranges []frontend.PortRange) string {
	text, _ := newPortSet(ranges).MarshalText() // never an error
	return string(text)
}

// fakeReserved is a ReservedPorts on files, with ports that somebody reserved before.
func fakeReserved(t *testing.T, before string) ReservedPorts {
	t.Helper()
	s := fakeRoot(t, map[string]string{reservedPorts: before, ephemeralPorts: "32768\t60999"})
	return ReservedPorts(s)
}

// putReserved writes the value as another program would.
func putReserved(t testing.TB, r ReservedPorts, ports string) {
	t.Helper()
	if err := os.WriteFile(r.path(), []byte(ports+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
}

func reserve(t testing.TB, r ReservedPorts, wrote bool, ports string) {
	t.Helper()
	if got, err := r.Set(portsOf(t, ports)); err != nil || got != wrote {
		t.Fatalf("reserve %q: wrote %t, %v; want %t", ports, got, err, wrote)
	}
}

func wantReserved(t testing.TB, r ReservedPorts, want string) {
	t.Helper()
	v, err := readReserved(r.path())
	if err != nil {
		t.Fatal(err)
	}
	if got := textOf(v.ports.ranges()); got != want {
		t.Errorf("reserved are %q, want %q", got, want)
	}
}

// wantGivenBack restores, and looks at what was taken out and at what is left.
func wantGivenBack(t testing.TB, r ReservedPorts, removed, left string) {
	t.Helper()
	got, err := r.Restore()
	if err != nil {
		t.Fatal(err)
	}
	if textOf(got) != removed {
		t.Errorf("taken out were %q, want %q", textOf(got), removed)
	}
	wantReserved(t, r, left)
	if _, err := os.Stat(r.recordPath()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the record is still there: %v", err)
	}
}

func TestPortsAreReservedBesideThoseOfOthersAndGivenBack(t *testing.T) {
	r := fakeReserved(t, "8080,30010-30012")
	reserve(t, r, true, "30000-30011,443")
	wantReserved(t, r, "443,8080,30000-30012")
	wantGivenBack(t, r, "443,30000-30009", "8080,30010-30012")
	wantGivenBack(t, r, "", "8080,30010-30012")
}

func TestPortsAreAddedWithoutThoseOfOthersBeingWrittenAgain(t *testing.T) {
	r := fakeReserved(t, "8080,30010")
	reserve(t, r, true, "30000-30010")
	if text, err := os.ReadFile(r.path()); string(text) != "8080,30010\n30000-30009\n" || err != nil {
		t.Errorf("the file is %q, %v: what somebody adds in that moment would be lost", text, err)
	}
}

func TestReservedPortsAreWrittenOnlyWhereTheyDiffer(t *testing.T) {
	r := fakeReserved(t, "30005")
	reserve(t, r, true, "30000-30010")
	before, err := os.Stat(r.recordPath())
	if err != nil {
		t.Fatal(err)
	}
	reserve(t, r, false, "30000-30010")
	after, err := os.Stat(r.recordPath())
	if err != nil || !os.SameFile(before, after) {
		t.Errorf("the record was written again (%v)", err)
	}
}

func TestNothingIsRecordedWhereOthersReservedAllThatIsWanted(t *testing.T) {
	r := fakeReserved(t, "30000-32767")
	reserve(t, r, false, "30080,30443")
	if _, err := os.Stat(r.StateDir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the state directory was made: %v", err)
	}
	wantGivenBack(t, r, "", "30000-32767")
}

func TestPortsThatAreNotWantedAnyMoreAreGivenUp(t *testing.T) {
	r := fakeReserved(t, "80")
	reserve(t, r, true, "80,30000-30010")
	reserve(t, r, true, "30005,30020")
	wantReserved(t, r, "80,30005,30020")
	reserve(t, r, true, "")
	wantReserved(t, r, "80")
	wantGivenBack(t, r, "", "80")
}

func TestWhatOthersReserveMeanwhileStays(t *testing.T) {
	r := fakeReserved(t, "80")
	reserve(t, r, true, "30000-30010")
	putReserved(t, r, "80,9000,30000-30010") // read, extended, written
	reserve(t, r, true, "30000-30011")
	wantReserved(t, r, "80,9000,30000-30011")
	wantGivenBack(t, r, "30000-30011", "80,9000")
}

func TestAValueThatSomebodyElseWroteIsHisEvenWhereItNamesOurPorts(t *testing.T) {
	r := fakeReserved(t, "80")
	reserve(t, r, true, "30000-30010")
	putReserved(t, r, "30000-30005")
	reserve(t, r, true, "30000-30010")
	wantReserved(t, r, "30000-30010")
	wantGivenBack(t, r, "30006-30010", "30000-30005")
}

func TestAValueWithoutOurPortsIsNotTouchedByRestore(t *testing.T) {
	r := fakeReserved(t, "80")
	reserve(t, r, true, "30000-30010")
	putReserved(t, r, "30000")
	wantGivenBack(t, r, "", "30000")
}

func TestTheRecordFollowsWhatOthersTookOver(t *testing.T) {
	r := fakeReserved(t, "")
	reserve(t, r, true, "1,2")
	putReserved(t, r, "1")       // theirs from now on
	reserve(t, r, false, "1")    // nothing to be written, but to be remembered
	putReserved(t, r, "1,2,500") // looks as if ours were there again
	wantGivenBack(t, r, "", "1-2,500")
}

func TestARecordOfReservedPortsFromBeforeABootIsIgnored(t *testing.T) {
	r := fakeReserved(t, "80")
	reserve(t, r, true, "30000")
	setValue(t, r.sysctls(), bootID, "boot-2")
	putReserved(t, r, "80,30000") // by sysctl.conf, for example
	wantGivenBack(t, r, "", "80,30000")
}

func TestACrashWhilePortsAreWrittenLeavesWhatCanBeGivenBack(t *testing.T) {
	for name, c := range map[string]struct{ found, removed, left string }{
		"nothing was written":      {"80,30000-30001", "30000-30001", "80"},
		"some were added":          {"80,30000-30002", "30000-30002", "80"},
		"all were added":           {"80,30000-30003", "30000-30003", "80"},
		"some were taken out":      {"80,30001-30002", "30001-30002", "80"},
		"ours were not yet put in": {"80", "", "80"},
	} {
		t.Run(name, func(t *testing.T) {
			r := fakeReserved(t, c.found)
			record := reservedRecord{BootID: "boot-1", Ours: *newPortSet(portsOf(t, "30001")), Pending: *newPortSet(portsOf(t, "30000,30002-30003"))}
			if err := r.store(record); err != nil {
				t.Fatal(err)
			}
			wantGivenBack(t, r, c.removed, c.left)
		})
	}
}

// The write fails after the record was made, and what is there then is a part of what was asked for.
func TestWhatIsAboutToBeReservedIsRecordedBefore(t *testing.T) {
	r := fakeReserved(t, "80")
	reserve(t, r, true, "30000")
	sealed, err := unix.MemfdCreate("reserved", unix.MFD_ALLOW_SEALING)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(sealed)
	_, err = unix.Write(sealed, []byte("80,30000\n"))
	_, sealErr := unix.FcntlInt(uintptr(sealed), unix.F_ADD_SEALS, unix.F_SEAL_WRITE)
	if err := errors.Join(err, sealErr, os.Remove(r.path()), os.Symlink(fmt.Sprintf("/proc/self/fd/%d", sealed), r.path())); err != nil {
		t.Fatal(err)
	}
	if wrote, err := r.Set(portsOf(t, "30000-30002")); wrote || !errors.Is(err, unix.EPERM) {
		t.Fatalf("wrote %t, %v, want that nothing can be written", wrote, err)
	}
	if err := os.Remove(r.path()); err != nil {
		t.Fatal(err)
	}
	putReserved(t, r, "80,30000-30001")
	wantGivenBack(t, r, "30000-30001", "80")
}

func TestARecordIsSettledAfterACrash(t *testing.T) {
	r := fakeReserved(t, "80,30000")
	if err := r.store(reservedRecord{BootID: "boot-1", Pending: *newPortSet(portsOf(t, "30000-30001"))}); err != nil {
		t.Fatal(err)
	}
	reserve(t, r, false, "30000")
	record, err := r.load()
	if err != nil || textOf(record.Ours.ranges()) != "30000" || !record.Pending.empty() {
		t.Errorf("the record is %v %v, %v", record.Ours.ranges(), record.Pending.ranges(), err)
	}
}

func TestPortsThatCannotBeRecordedAreNotReserved(t *testing.T) {
	r := fakeReserved(t, "80")
	if err := os.Symlink(filepath.Join(t.TempDir(), "none", "such"), r.StateDir); err != nil {
		t.Fatal(err)
	}
	if wrote, err := r.Set(portsOf(t, "30000")); wrote || err == nil {
		t.Errorf("wrote %t, %v", wrote, err)
	}
	wantReserved(t, r, "80")
}

func TestARecordThatCannotBeReadIsAnError(t *testing.T) {
	r := fakeReserved(t, "80")
	for _, text := range []string{"{", `{"ours": "1-"}`, `{"ours": "9-1"}`, `{"pending": "65536"}`} {
		if err := errors.Join(os.MkdirAll(r.StateDir, 0o700), os.WriteFile(r.recordPath(), []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
		if wrote, err := r.Set(portsOf(t, "30000")); wrote || err == nil {
			t.Errorf("%s: wrote %t, %v", text, wrote, err)
		}
		if _, err := r.Restore(); err == nil {
			t.Errorf("%s: restored", text)
		}
	}
	wantReserved(t, r, "80")
}

func TestAKernelWithoutReservedPortsIsToldApart(t *testing.T) {
	r := ReservedPorts(fakeRoot(t, nil))
	if wrote, err := r.Set(portsOf(t, "30000")); wrote || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("wrote %t, %v", wrote, err)
	}
	if _, err := r.EphemeralRange(); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func TestTheEphemeralRangeIsRead(t *testing.T) {
	r := fakeReserved(t, "")
	if got, err := r.EphemeralRange(); got != (frontend.PortRange{First: 32768, Last: 60999}) || err != nil {
		t.Errorf("got %v, %v", got, err)
	}
	for _, text := range []string{"", "32768", "a b", "1 65536"} {
		setValue(t, r.sysctls(), ephemeralPorts, text)
		if got, err := r.EphemeralRange(); err == nil {
			t.Errorf("%q is read as %v", text, got)
		}
	}
}

func TestLongListsAreWrittenInPiecesThatTheKernelReadsWhole(t *testing.T) {
	s := new(portSet)
	for port := 1; port < 1<<16; port += 2 {
		s[port/64] |= 1 << (port % 64)
	}
	again := new(portSet)
	for _, text := range s.texts(maxReservedWrite) {
		if len(text) > maxReservedWrite {
			t.Errorf("a piece has %d bytes", len(text))
		}
		piece := new(portSet)
		if err := piece.UnmarshalText([]byte(text)); err != nil {
			t.Fatal(err)
		}
		again = again.union(piece)
	}
	if *again != *s {
		t.Error("the pieces are not the whole")
	}
	if all := s.texts(maxReservedText); len(all) != 1 {
		t.Errorf("the longest value there is does not fit in %d bytes", maxReservedText)
	}
}

func FuzzReservedPorts(f *testing.F) {
	for _, seed := range []string{"", "\n", "80,443,30000-32767\n", "0-65535", "1,2\n5", "9-1", "65536", "-", "1--2", "1-2-3"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, again := new(portSet), new(portSet)
		if err := s.UnmarshalText([]byte(text)); err != nil {
			return
		}
		printed, err := s.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		if err := again.UnmarshalText(printed); err != nil || *again != *s {
			t.Errorf("%q is printed as %q and read back as something else (%v)", text, printed, err)
		}
	})
}

func TestAllReservedPortsAreRead(t *testing.T) {
	r := fakeReserved(t, "80,30000-32767")
	reserve(t, r, true, "443")
	if got, err := r.Reserved(); textOf(got) != "80,443,30000-32767" || err != nil {
		t.Errorf("reserved are %s, %v", textOf(got), err)
	}
}
