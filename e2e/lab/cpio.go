package lab

import (
	"bufio"
	"fmt"
	"io"
	"path"
	"strings"
)

// File types of a cpio archive, as in st_mode.
const (
	modeDir     = 0o040000
	modeFile    = 0o100000
	modeSymlink = 0o120000
	modeChar    = 0o020000
)

// archive writes a cpio archive in the "newc" form, the one that the kernel unpacks as initramfs
// (Documentation/driver-api/early-userspace/buffer-format.rst). Everything belongs to root and has time 0, so that
// the same content gives the same bytes. The first error sticks and is returned by close.
type archive struct {
	w    *bufio.Writer
	off  int64
	ino  int
	seen map[string]bool
	err  error
}

func newArchive(w io.Writer) *archive {
	return &archive{w: bufio.NewWriterSize(w, 1<<16), seen: map[string]bool{"/": true}}
}

// dir adds a directory, with its parents, unless it is there already.
func (a *archive) dir(name string) {
	name = path.Clean("/" + name)
	if a.seen[name] {
		return
	}
	a.dir(path.Dir(name))
	a.seen[name] = true
	a.entry(name, modeDir|0o755, 0, 0, nil)
}

// file adds a regular file.
func (a *archive) file(name string, perm uint32, data []byte) {
	a.add(name, modeFile|perm&0o7777, 0, 0, data)
}

// symlink adds a symbolic link.
func (a *archive) symlink(name, target string) {
	a.add(name, modeSymlink|0o777, 0, 0, []byte(target))
}

// charDevice adds a character device.
func (a *archive) charDevice(name string, perm uint32, major, minor int) {
	a.add(name, modeChar|perm, major, minor, nil)
}

// add adds what is not a directory. The first of two equal names counts.
func (a *archive) add(name string, mode uint32, major, minor int, data []byte) {
	name = path.Clean("/" + name)
	if a.seen[name] {
		return
	}
	a.dir(path.Dir(name))
	a.seen[name] = true
	a.entry(name, mode, major, minor, data)
}

// close ends the archive. It pads to 512 bytes, so that another archive may follow in the same file.
func (a *archive) close() error {
	a.ino = -1 // the trailer has inode number 0
	a.entry("/TRAILER!!!", 0, 0, 0, nil)
	a.pad(512)
	if a.err == nil {
		a.err = a.w.Flush()
	}
	if a.err != nil {
		return fmt.Errorf("write cpio archive: %w", a.err)
	}
	return nil
}

func (a *archive) entry(name string, mode uint32, major, minor int, data []byte) {
	name = strings.TrimPrefix(name, "/")
	a.ino++
	// ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
	a.write(fmt.Appendf(nil, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00",
		a.ino, mode, 0, 0, 1, 0, len(data), 0, 0, major, minor, len(name)+1, 0, name))
	a.pad(4)
	a.write(data)
	a.pad(4)
}

func (a *archive) pad(to int64) {
	if n := a.off % to; n != 0 {
		a.write(make([]byte, to-n))
	}
}

func (a *archive) write(p []byte) {
	if a.err != nil {
		return
	}
	var n int
	n, a.err = a.w.Write(p)
	a.off += int64(n)
}
