package lab

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// cpioEntry is an entry as the kernel would read it.
type cpioEntry struct {
	Name         string
	Mode         uint64
	Major, Minor uint64
	Data         string
}

// readCPIO reads one archive in newc form up to its trailer.
func readCPIO(t *testing.T, b []byte) []cpioEntry {
	t.Helper()
	var entries []cpioEntry
	for off := 0; ; {
		if string(b[off:off+6]) != "070701" {
			t.Fatalf("at %d: no header", off)
		}
		field := func(i int) uint64 {
			v, err := strconv.ParseUint(string(b[off+6+8*i:off+14+8*i]), 16, 32)
			if err != nil {
				t.Fatalf("at %d: field %d: %v", off, i, err)
			}
			return v
		}
		nameLen, size := int(field(11)), int(field(6))
		name := string(b[off+110 : off+110+nameLen-1])
		data := (off + 110 + nameLen + 3) &^ 3
		if name == "TRAILER!!!" {
			return entries
		}
		entries = append(entries, cpioEntry{name, field(1), field(9), field(10), string(b[data : data+size])})
		off = (data + size + 3) &^ 3
	}
}

func TestArchiveHoldsWhatWasAddedWithParentsAndOnce(t *testing.T) {
	var buf bytes.Buffer
	a := newArchive(&buf)
	a.charDevice("/dev/console", 0o600, 5, 1)
	a.file("/usr/sbin/nft", 0o755, []byte("nft!!"))
	a.file("usr/sbin/nft", 0o644, []byte("again"))
	a.symlink("/sbin/modprobe", "/init")
	a.dir("/usr/sbin")
	if err := a.close(); err != nil {
		t.Fatal(err)
	}
	want := []cpioEntry{
		{"dev", 0o040755, 0, 0, ""},
		{"dev/console", 0o020600, 5, 1, ""},
		{"usr", 0o040755, 0, 0, ""},
		{"usr/sbin", 0o040755, 0, 0, ""},
		{"usr/sbin/nft", 0o100755, 0, 0, "nft!!"},
		{"sbin", 0o040755, 0, 0, ""},
		{"sbin/modprobe", 0o120777, 0, 0, "/init"},
	}
	if d := cmp.Diff(want, readCPIO(t, buf.Bytes())); d != "" {
		t.Errorf("entries (-want +got):\n%s", d)
	}
	if buf.Len()%512 != 0 {
		t.Errorf("%d bytes: another archive could not follow", buf.Len())
	}
}

type failingWriter struct{ after int }

func (w *failingWriter) Write(p []byte) (int, error) {
	if w.after -= len(p); w.after < 0 {
		return 0, errFull
	}
	return len(p), nil
}

var errFull = errors.New("disk full")

func TestArchiveReportsAWriteErrorAtTheEnd(t *testing.T) {
	a := newArchive(&failingWriter{after: 1 << 17})
	for i := range 10 {
		a.file(fmt.Sprintf("/f%d", i), 0o644, make([]byte, 1<<16))
	}
	if err := a.close(); !errors.Is(err, errFull) {
		t.Errorf("error %v, want %v", err, errFull)
	}
}
