package lab

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"strings"
	"testing"
)

// bzImage returns an image with two setup sectors that carries a payload.
func bzImage(payload []byte) []byte {
	const setupSects, gap = 2, 64
	b := make([]byte, (setupSects+1)*512+gap)
	b[headerSetupSects] = setupSects
	copy(b[headerMagic:], "HdrS")
	binary.LittleEndian.PutUint32(b[headerPayloadOffset:], gap)
	binary.LittleEndian.PutUint32(b[headerPayloadLength:], uint32(len(payload)))
	return append(append(b, payload...), "what follows"...)
}

// gzipped compresses as the kernel's build does: with the size appended.
func gzipped(t *testing.T, s string) []byte {
	t.Helper()
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	if _, err := z.Write([]byte(s)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return binary.LittleEndian.AppendUint32(buf.Bytes(), uint32(len(s)))
}

func TestVMLinuxIsTakenOutOfABzImage(t *testing.T) {
	const kernel = "\x7fELF and so on"
	got, err := extractVMLinux(bzImage(gzipped(t, kernel)))
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != kernel {
		t.Errorf("got %q, want %q", got, kernel)
	}
}

func TestVMLinuxIsNotTakenOutOfAnythingElse(t *testing.T) {
	outside := bzImage([]byte("x"))
	binary.LittleEndian.PutUint32(outside[headerPayloadLength:], 1<<20)
	for name, c := range map[string]struct {
		image []byte
		want  string
	}{
		"an empty file":                    {nil, "no setup header"},
		"a file without the header's mark": {make([]byte, 4096), "no setup header"},
		"an image cut short":               {outside, "payload at"},
		"an image without payload":         {bzImage(nil), "payload at"},
		"a payload that is no ELF file":    {bzImage(gzipped(t, "something")), "not an ELF kernel"},
		"a damaged payload":                {bzImage([]byte(gzipMagic + "damage")), "gunzip"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := extractVMLinux(c.image)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
}
