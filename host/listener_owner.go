package host

import (
	"cmp"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

const (
	// ownerProcessFDs bounds the descriptors of one process that are looked at, ownerFDs those of all. Servers open their
	// listening sockets before the thousands of connections that come by them, and the kernel lists descriptors in order.
	ownerProcessFDs = 4096
	ownerFDs        = 1 << 17
)

// Owners finds the processes that hold sockets, by the sockets' inodes; proc is /proc. What cannot be seen is not in the
// result: sockets of the kernel itself, of another pid namespace (a container without hostPID), of another user, and those
// behind thousands of other descriptors. Of several processes that hold one socket it is the one of the lowest number, and
// init, which opens sockets for others, only if there is no other.
func Owners(proc fs.FS, inodes []uint32) map[uint32]Process {
	wanted := make(map[uint32]struct{}, len(inodes))
	for _, inode := range inodes {
		if inode != 0 { // a socket that has no file
			wanted[inode] = struct{}{}
		}
	}
	owners := make(map[uint32]Process, len(wanted))
	left := ownerFDs
	for _, pid := range pids(proc) {
		if len(wanted) == 0 || left <= 0 {
			break
		}
		held, looked := heldSockets(proc, pid, wanted, min(left, ownerProcessFDs))
		left -= looked
		if len(held) == 0 {
			continue
		}
		process := readProcess(proc, pid)
		for _, inode := range held {
			owners[inode] = process
			delete(wanted, inode)
		}
	}
	return owners
}

// pids are the numbers of all processes that can be seen, ascending, with init at the end.
func pids(proc fs.FS) []int {
	entries, err := fs.ReadDir(proc, ".")
	if err != nil {
		return nil
	}
	var all []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			all = append(all, pid)
		}
	}
	isInit := func(pid int) int {
		if pid == 1 {
			return 1
		}
		return 0
	}
	slices.SortFunc(all, func(a, b int) int { return cmp.Or(isInit(a)-isInit(b), a-b) })
	return all
}

// heldSockets are those of the wanted sockets that are among the first descriptors of a process.
func heldSockets(proc fs.FS, pid int, wanted map[uint32]struct{}, limit int) (held []uint32, looked int) {
	name := path.Join(strconv.Itoa(pid), "fd")
	dir, err := proc.Open(name)
	if err != nil {
		return nil, 0
	}
	defer func() { _ = dir.Close() }() // nothing was written
	listing, ok := dir.(fs.ReadDirFile)
	if !ok {
		return nil, 0
	}
	entries, _ := listing.ReadDir(limit) // the process may end meanwhile: what was read counts
	for _, e := range entries {
		target, err := fs.ReadLink(proc, path.Join(name, e.Name()))
		if err != nil {
			continue
		}
		if inode, ok := socketInode(target); ok {
			if _, is := wanted[inode]; is {
				held = append(held, inode)
			}
		}
	}
	return held, len(entries)
}

// socketInode reads "socket:[4026]".
func socketInode(target string) (uint32, bool) {
	number, ok := strings.CutPrefix(target, "socket:[")
	if !ok {
		return 0, false
	}
	inode, err := strconv.ParseUint(strings.TrimSuffix(number, "]"), 10, 32)
	return uint32(inode), err == nil
}

// readProcess is as much of a process as can be read: its number at least.
func readProcess(proc fs.FS, pid int) Process {
	p := Process{PID: pid}
	if args := commandLine(proc, pid); len(args) > 0 {
		p.Name, p.Args = path.Base(args[0]), args[1:]
	}
	return p
}
