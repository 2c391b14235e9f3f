package host

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Holder is a program that has the name of an abstract unix socket, as far as it can be seen from here. Such a name has no owner: it
// is anybody's in the network namespace who comes first.
type Holder struct {
	// PID is its process; 0 if that cannot be seen, as from another pid namespace.
	PID int
	// UID is the user as whom it began to listen, or runs if it does not listen; -1 if that cannot be seen.
	UID int
	// Command is what it calls itself, which may be anything; "" if that cannot be seen.
	Command string
}

// String names it for people, and shows as text what its name would do to a terminal.
func (h Holder) String() string {
	user := ""
	if h.UID >= 0 {
		user = fmt.Sprintf("user %d", h.UID)
	}
	switch {
	case h.PID == 0 && user == "":
		return "a program that cannot be seen from here"
	case h.PID == 0:
		return "a program of " + user + " that cannot be seen from here"
	case h.Command != "" && user != "":
		user = ", " + user
		fallthrough
	case h.Command != "":
		return fmt.Sprintf("process %d (%q%s)", h.PID, h.Command, user)
	case user != "":
		return fmt.Sprintf("process %d (%s)", h.PID, user)
	}
	return fmt.Sprintf("process %d", h.PID)
}

// Trusted reports whether it is root's, or of the user of this process. A process in a user namespace is not root here.
func (h Holder) Trusted() bool { return h.trustedBy(os.Geteuid()) }

// trustedBy is Trusted for a process of this user.
func (h Holder) trustedBy(self int) bool { return h.UID == 0 || h.UID >= 0 && h.UID == self }

// Peer asks the kernel who is at the other end of a unix socket: of a connection that was made, who listens.
func Peer(c syscall.Conn) (Holder, error) {
	nobody := Holder{UID: -1}
	raw, err := c.SyscallConn()
	if err != nil {
		return nobody, fmt.Errorf("credentials of the other end: %w", err)
	}
	var cred *unix.Ucred
	controlErr := raw.Control(func(fd uintptr) { cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err = errors.Join(controlErr, err); err != nil {
		return nobody, fmt.Errorf("credentials of the other end: %w", err)
	}
	return Holder{PID: int(cred.Pid), UID: int(cred.Uid), Command: command(os.DirFS("/proc"), int(cred.Pid))}, nil
}

// HolderOf is who has the name of an abstract unix socket of the calling thread's network namespace. One that does not answer a
// connection is looked for in the kernel's list of sockets.
func HolderOf(name string) (h Holder, listens bool) {
	if c, err := net.DialTimeout("unix", name, time.Second); err == nil {
		defer c.Close()
		if h, err := Peer(c.(*net.UnixConn)); err == nil {
			return h, true
		}
	}
	return silentHolder(os.DirFS("/proc"), name), false
}

// silentHolder is who has a name, as far as the kernel and proc, which is /proc, tell.
func silentHolder(proc fs.FS, name string) Holder {
	bound, err := boundTo(name)
	if err != nil {
		return Holder{UID: -1} // no unix_diag: who has the name is not known, and all else goes on
	}
	h := Holder{UID: bound.uid, PID: Owners(proc, []uint32{bound.inode})[bound.inode].PID}
	h.Command = command(proc, h.PID)
	return h
}

// command is what a process calls itself; "" if it cannot be seen.
func command(proc fs.FS, pid int) string {
	if pid == 0 {
		return ""
	}
	comm, err := fs.ReadFile(proc, path.Join(strconv.Itoa(pid), "comm"))
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(string(comm), "\n")
}
