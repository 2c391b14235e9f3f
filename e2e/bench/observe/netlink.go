package observe

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"os"

	"golang.org/x/sys/unix"
)

// message is one of nf_tables: what it is about, in which family, at which generation of the ruleset, and its attributes.
type message struct {
	kind       uint8 // NFT_MSG_*
	family     uint8
	generation uint16 // the lower bits
	attrs      []byte
}

const (
	headerSize     = unix.SizeofNlMsghdr
	nfHeaderSize   = 4 // struct nfgenmsg
	attrHeaderSize = unix.SizeofNlAttr
	attrTypeMask   = ^uint16(unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
	answerSize     = 64 << 10
	// answerSeconds is how long the kernel may take to answer. A ruleset that is being committed makes everybody wait.
	answerSeconds = 30
	// backlog is what is kept of notifications until they are read: those of thousands of Services in one transaction are 20 MB.
	backlog = 256 << 20
)

var errMalformed = errors.New("malformed netlink message")

// nfSocket asks nf_tables of one network namespace.
type nfSocket struct {
	fd  int
	seq uint32
	buf []byte
}

// openNetfilter opens a socket in the namespace of the thread, where it stays.
func openNetfilter() (*nfSocket, error) {
	fd, err := netfilter(0)
	if err != nil {
		return nil, err
	}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: answerSeconds}); err != nil {
		return nil, errors.Join(fmt.Errorf("limit the wait for answers: %w", err), unix.Close(fd))
	}
	return &nfSocket{fd: fd, buf: make([]byte, answerSize)}, nil
}

// listen opens a socket that is told of every change to nf_tables in the namespace of the thread.
func listen() (*os.File, error) {
	fd, err := netfilter(unix.SOCK_NONBLOCK)
	if err != nil {
		return nil, err
	}
	err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, backlog)
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, unix.NFNLGRP_NFTABLES)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listen to nf_tables: %w", err), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), "notifications of nf_tables"), nil
}

func netfilter(flags int) (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|flags, unix.NETLINK_NETFILTER)
	if err != nil {
		return 0, fmt.Errorf("open a netfilter socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return 0, errors.Join(fmt.Errorf("bind a netfilter socket: %w", err), unix.Close(fd))
	}
	return fd, nil
}

func (s *nfSocket) close() error { return unix.Close(s.fd) }

// ask sends a request and calls each for every message of the answer: one, or those of a dump. What is not there is no answer, and no error.
func (s *nfSocket) ask(kind, family uint8, flags uint16, attrs []byte, each func(message) error) error {
	s.seq++
	b := make([]byte, headerSize+nfHeaderSize, headerSize+nfHeaderSize+len(attrs))
	binary.NativeEndian.PutUint16(b[4:], unix.NFNL_SUBSYS_NFTABLES<<8|uint16(kind))
	binary.NativeEndian.PutUint16(b[6:], unix.NLM_F_REQUEST|flags)
	binary.NativeEndian.PutUint32(b[8:], s.seq)
	b[headerSize] = family
	b = append(b, attrs...)
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	if err := unix.Sendto(s.fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("ask nf_tables: %w", err)
	}
	for {
		n, err := unix.Read(s.fd, s.buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("answer of nf_tables: %w", err)
		}
		if done, err := s.take(s.buf[:n], flags&unix.NLM_F_DUMP != 0, each); done || err != nil {
			return err
		}
	}
}

// take hands on the messages of an answer, and says whether it has ended.
func (s *nfSocket) take(b []byte, dump bool, each func(message) error) (done bool, err error) {
	for len(b) > 0 {
		h, payload, rest, err := cutMessage(b)
		if err != nil {
			return true, err
		}
		b = rest
		if h.Seq != s.seq {
			continue // of an answer that nobody waited for
		}
		switch h.Type {
		case unix.NLMSG_DONE:
			return true, nil
		case unix.NLMSG_ERROR:
			if errno := unix.Errno(-int32(binary.NativeEndian.Uint32(payload))); errno != 0 && errno != unix.ENOENT {
				return true, fmt.Errorf("answer of nf_tables: %w", errno)
			}
			return true, nil
		}
		if m, ok := asMessage(h, payload); ok {
			if err := each(m); err != nil {
				return true, err
			}
		}
		if !dump {
			return true, nil
		}
	}
	return false, nil
}

// cutMessage cuts the first message off b.
func cutMessage(b []byte) (h unix.NlMsghdr, payload, rest []byte, err error) {
	if len(b) < headerSize {
		return h, nil, nil, errMalformed
	}
	h.Len, h.Type = binary.NativeEndian.Uint32(b), binary.NativeEndian.Uint16(b[4:])
	h.Seq = binary.NativeEndian.Uint32(b[8:])
	if h.Len < headerSize+nfHeaderSize || int(h.Len) > len(b) {
		return h, nil, nil, errMalformed
	}
	return h, b[headerSize:h.Len], b[min(len(b), align(int(h.Len))):], nil
}

// asMessage is false for messages of others than nf_tables.
func asMessage(h unix.NlMsghdr, payload []byte) (message, bool) {
	if h.Type>>8 != unix.NFNL_SUBSYS_NFTABLES {
		return message{}, false
	}
	return message{
		kind: uint8(h.Type), family: payload[0], generation: binary.BigEndian.Uint16(payload[2:]), attrs: payload[nfHeaderSize:],
	}, true
}

// attributes are those in b, up to the first that is malformed.
func attributes(b []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= attrHeaderSize {
			size := int(binary.NativeEndian.Uint16(b))
			if size < attrHeaderSize || size > len(b) {
				return
			}
			if !yield(binary.NativeEndian.Uint16(b[2:])&attrTypeMask, b[attrHeaderSize:size]) {
				return
			}
			b = b[min(len(b), align(size)):]
		}
	}
}

// attribute is the first of a type, nil if there is none.
func attribute(b []byte, typ uint16) []byte {
	for t, v := range attributes(b) {
		if t == typ {
			return v
		}
	}
	return nil
}

// text is an attribute that is a string, without its end.
func text(b []byte) string {
	if n := len(b); n > 0 && b[n-1] == 0 {
		b = b[:n-1]
	}
	return string(b)
}

func appendAttr(b []byte, typ uint16, value []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(attrHeaderSize+len(value)))
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = append(b, value...)
	return append(b, make([]byte, align(len(value))-len(value))...)
}

func appendText(b []byte, typ uint16, s string) []byte {
	return appendAttr(b, typ, append([]byte(s), 0))
}

func align(n int) int { return (n + unix.NLA_ALIGNTO - 1) &^ (unix.NLA_ALIGNTO - 1) }
