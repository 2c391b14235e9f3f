package host

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Of linux/unix_diag.h.
const (
	sizeofUnixDiagRequest = 24   // struct unix_diag_req
	sizeofUnixDiagMessage = 16   // struct unix_diag_msg
	unixDiagShowName      = 0x01 // UDIAG_SHOW_NAME
	unixDiagShowUID       = 0x40 // UDIAG_SHOW_UID, since Linux 5.3
	unixDiagName          = 0    // UNIX_DIAG_NAME
	unixDiagUID           = 7    // UNIX_DIAG_UID
)

// unixDiagRequest is struct unix_diag_req.
type unixDiagRequest [sizeofUnixDiagRequest]byte

func (r *unixDiagRequest) Len() int          { return len(r) }
func (r *unixDiagRequest) Serialize() []byte { return r[:] }

// boundSocket is a socket that a name is bound to.
type boundSocket struct {
	inode uint32
	uid   int // who made it; -1 from kernels that do not say
}

// boundTo asks the kernel for the stream socket that an abstract name is bound to, in the calling thread's network namespace.
// /proc/net/unix is no source: a name may contain the end of a line and what looks like the next one, and so point to whomever it likes.
func boundTo(name string) (boundSocket, error) {
	s, err := nl.GetNetlinkSocketAt(netns.None(), netns.None(), unix.NETLINK_INET_DIAG)
	if err != nil {
		return boundSocket{}, fmt.Errorf("open a netlink socket for unix sockets: %w", err)
	}
	defer s.Close()
	timeout := unix.NsecToTimeval(listenersTimeout.Nanoseconds())
	if err := errors.Join(s.SetSendTimeout(&timeout), s.SetReceiveTimeout(&timeout)); err != nil {
		return boundSocket{}, fmt.Errorf("timeouts of the netlink socket for unix sockets: %w", err)
	}
	var r unixDiagRequest
	r[0] = unix.AF_UNIX
	binary.NativeEndian.PutUint32(r[4:], 1<<stateClosed|1<<stateListen) // not the connections, which have their listener's name
	binary.NativeEndian.PutUint32(r[12:], unixDiagShowName|unixDiagShowUID)
	req := nl.NewNetlinkRequest(nl.SOCK_DIAG_BY_FAMILY, unix.NLM_F_DUMP)
	req.AddData(&r)
	req.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_INET_DIAG: {Socket: s}}
	var found []boundSocket
	err = req.ExecuteIter(unix.NETLINK_INET_DIAG, nl.SOCK_DIAG_BY_FAMILY, func(message []byte) bool {
		if b, is := readBound(message, name); is {
			found = append(found, b)
		}
		return true
	})
	switch {
	case err != nil:
		return boundSocket{}, fmt.Errorf("list unix sockets: %w", err)
	case len(found) == 0:
		return boundSocket{}, fmt.Errorf("unix socket %s: %w", name, unix.ENOENT)
	}
	return found[0], nil
}

// readBound reads an answer: false if it is of another name, or no stream socket. "@" begins an abstract name here, and a zero byte
// in the kernel.
func readBound(message []byte, name string) (boundSocket, bool) {
	if len(message) < sizeofUnixDiagMessage || message[0] != unix.AF_UNIX || message[1] != unix.SOCK_STREAM {
		return boundSocket{}, false
	}
	b, named := boundSocket{inode: binary.NativeEndian.Uint32(message[4:]), uid: -1}, false
	for kind, value := range attributes(message[sizeofUnixDiagMessage:]) {
		switch {
		case kind == unixDiagName:
			named = string(value) == "\x00"+name[1:]
		case kind == unixDiagUID && len(value) == 4:
			b.uid = int(binary.NativeEndian.Uint32(value))
		}
	}
	return b, named
}
