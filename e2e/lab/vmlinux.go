package lab

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os/exec"
)

// Offsets in the setup header of a bzImage (Documentation/arch/x86/boot.rst), boot protocol 2.08 and later.
const (
	headerSetupSects    = 0x1f1
	headerMagic         = 0x202
	headerPayloadOffset = 0x248
	headerPayloadLength = 0x24c
	headerEnd           = 0x250
)

const (
	gzipMagic = "\x1f\x8b"
	xzMagic   = "\xfd7zXZ\x00"
	zstdMagic = "\x28\xb5\x2f\xfd"
)

// extractVMLinux returns the ELF kernel that a bzImage carries compressed. QEMU enters it directly (PVH), which
// saves the emulated decompression: about 2.5 s of boot time under TCG.
func extractVMLinux(bzImage []byte) ([]byte, error) {
	if len(bzImage) < headerEnd || string(bzImage[headerMagic:headerMagic+4]) != "HdrS" {
		return nil, errors.New("not a bzImage: no setup header")
	}
	le := binary.LittleEndian
	// The payload's offset counts from the protected-mode code, which follows the boot sector and the setup sectors.
	start := (uint64(bzImage[headerSetupSects])+1)*512 + uint64(le.Uint32(bzImage[headerPayloadOffset:]))
	end := start + uint64(le.Uint32(bzImage[headerPayloadLength:]))
	if start >= end || end > uint64(len(bzImage)) {
		return nil, fmt.Errorf("bzImage: payload at %d to %d of %d bytes", start, end, len(bzImage))
	}
	payload := bzImage[start:end]
	if bytes.HasPrefix(payload, []byte(zstdMagic)) {
		payload = payload[:len(payload)-4] // the build appends the size, which zstd takes for a damaged frame
	}
	kernel, err := decompress(payload)
	if err != nil {
		return nil, fmt.Errorf("bzImage: %w", err)
	}
	if !bytes.HasPrefix(kernel, []byte("\x7fELF")) {
		return nil, errors.New("bzImage: payload is not an ELF kernel")
	}
	return kernel, nil
}

// decompress unpacks gzip itself and leaves xz and zstd to their programs. Other data is returned as it is. What
// follows the first stream of gzip and xz is ignored: the kernel's build appends the size.
func decompress(b []byte) ([]byte, error) {
	switch {
	case bytes.HasPrefix(b, []byte(gzipMagic)):
		z, err := gzip.NewReader(bytes.NewReader(b))
		if err != nil {
			return nil, fmt.Errorf("gunzip: %w", err)
		}
		z.Multistream(false)
		out, err := io.ReadAll(z)
		if err != nil {
			return nil, fmt.Errorf("gunzip: %w", err)
		}
		return out, nil
	case bytes.HasPrefix(b, []byte(xzMagic)):
		return decompressWith(b, "xz", "-dc", "--single-stream")
	case bytes.HasPrefix(b, []byte(zstdMagic)):
		return decompressWith(b, "zstd", "-dcq")
	}
	return b, nil
}

func decompressWith(b []byte, name string, args ...string) ([]byte, error) {
	var out, stderr bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(b), &out, &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s: %w: %s", name, err, bytes.TrimSpace(stderr.Bytes()))
	}
	return out.Bytes(), nil
}
