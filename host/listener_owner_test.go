package host

import (
	"fmt"
	"io/fs"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

// procWithSockets adds processes to a /proc.
type procWithSockets fstest.MapFS

// process has the command line, and descriptors that are links, in the order of their numbers.
func (p procWithSockets) process(pid int, cmdline string, links ...string) procWithSockets {
	dir := fmt.Sprintf("%d", pid)
	p[dir+"/cmdline"] = &fstest.MapFile{Data: []byte(cmdline)}
	p[dir+"/fd"] = &fstest.MapFile{Mode: fs.ModeDir | 0o500}
	for i, link := range links {
		p[fmt.Sprintf("%s/fd/%06d", dir, i)] = &fstest.MapFile{Mode: fs.ModeSymlink, Data: []byte(link)}
	}
	return p
}

func (p procWithSockets) owners(inodes ...uint32) map[uint32]Process {
	return Owners(fstest.MapFS(p), inodes)
}

func TestASocketIsOwnedByTheProcessThatHoldsIt(t *testing.T) {
	proc := procWithSockets{"self": {Mode: fs.ModeSymlink, Data: []byte("20")}, "net": {Mode: fs.ModeDir}}.
		process(20, "/usr/sbin/nginx\x00-g\x00daemon off;\x00", "/dev/null", "socket:[100]", "pipe:[101]", "anon_inode:[eventpoll]").
		process(21, "sshd\x00-D\x00", "socket:[102]", "socket:[1000]")
	want := map[uint32]Process{
		100: {PID: 20, Name: "nginx", Args: []string{"-g", "daemon off;"}},
		102: {PID: 21, Name: "sshd", Args: []string{"-D"}},
	}
	if diff := cmp.Diff(want, proc.owners(100, 101, 102, 103, 0)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestOfSeveralHoldersTheFirstOwnsASocketAndInitOnlyIfAlone(t *testing.T) {
	proc := procWithSockets{}.
		process(1, "/sbin/init\x00", "socket:[100]", "socket:[101]", "socket:[102]").
		process(9, "master\x00", "socket:[101]").
		process(10, "worker\x00", "socket:[101]", "socket:[102]")
	got := proc.owners(100, 101, 102)
	for inode, pid := range map[uint32]int{100: 1, 101: 9, 102: 10} {
		if got[inode].PID != pid {
			t.Errorf("socket %d is owned by %+v, want process %d", inode, got[inode], pid)
		}
	}
}

func TestAProcessThatHidesItsNameIsANumber(t *testing.T) {
	proc := procWithSockets{}.process(20, "", "socket:[100]")
	delete(proc, "20/cmdline")
	if got := proc.owners(100)[100]; got.PID != 20 || got.Name != "" {
		t.Errorf("got %+v", got)
	}
}

func TestOwnersThatCannotBeSeenAreMissing(t *testing.T) {
	for name, proc := range map[string]procWithSockets{
		"an empty /proc":      {},
		"no descriptors":      {"20/cmdline": {Data: []byte("a\x00")}},
		"no list of them":     {"20/fd": {Data: []byte("a file")}},
		"malformed links":     procWithSockets{}.process(20, "a", "socket:[", "socket:[x]", "socket:[4294967396]", "socket:", ""),
		"not among the links": procWithSockets{}.process(20, "a", "socket:[1]"),
	} {
		if got := proc.owners(100); len(got) != 0 {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

func TestNoProcessIsSearchedWithoutEnd(t *testing.T) {
	links := make([]string, ownerProcessFDs+1)
	for i := range links {
		links[i] = fmt.Sprintf("socket:[%d]", i+1)
	}
	proc := procWithSockets{}.process(20, "proxy\x00", links...).process(21, "server\x00", "socket:[9999]")
	got := proc.owners(ownerProcessFDs, ownerProcessFDs+1, 9999)
	if got[ownerProcessFDs].PID != 20 || got[9999].PID != 21 || len(got) != 2 {
		t.Errorf("got %v", got)
	}
}
