package floor

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

// Numbers of include/uapi/linux/ip_vs.h.
const (
	cmdNewService = 1
	cmdNewDest    = 5

	cmdService = 1 // attributes of the command
	cmdDest    = 2

	serviceFamily = 1
	serviceProto  = 2
	serviceAddr   = 3
	servicePort   = 4
	serviceSched  = 6
	serviceFlags  = 7
	serviceTime   = 8
	serviceMask   = 9

	destAddr   = 1
	destPort   = 2
	destMethod = 3
	destWeight = 4
	destUpper  = 5
	destLower  = 6
	destFamily = 11
)

const (
	wholeAddress = 0xffffffff
	perSend      = 1000 // messages
	sendBuffer   = 2 << 20
	headers      = unix.SizeofNlMsghdr + 4
	sizeAddr     = 16
)

// bare is the least code that writes a table: it encodes, sends many messages in one system call, and reads no answer but that to the last.
type bare struct {
	fd     int
	family uint16
	buf    []byte
	answer [4096]byte
}

func prepareBare(_ context.Context, table ipvs.Table) (func(context.Context) error, func(), error) {
	family, err := netlink.GenlFamilyGet("IPVS")
	if err != nil {
		return nil, nil, fmt.Errorf("look up netlink family IPVS: %w", err)
	}
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_GENERIC)
	if err != nil {
		return nil, nil, fmt.Errorf("open a generic netlink socket: %w", err)
	}
	done := func() { _ = unix.Close(fd) }
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, sendBuffer); err != nil {
		done()
		return nil, nil, fmt.Errorf("make the send buffer larger: %w", err)
	}
	b := &bare{fd: fd, family: family.ID}
	plan := ipvs.Diff(nil, table)
	return func(ctx context.Context) error { return b.write(ctx, plan) }, done, nil
}

func (b *bare) write(ctx context.Context, plan ipvs.Plan) error {
	for first := 0; first < len(plan); first += perSend {
		if err := ctx.Err(); err != nil {
			return err
		}
		b.buf = b.buf[:0]
		last, start := min(first+perSend, len(plan)), 0
		for i := first; i < last; i++ {
			start = len(b.buf)
			b.append(uint32(i), &plan[i])
		}
		binary.NativeEndian.PutUint16(b.buf[start+6:], unix.NLM_F_REQUEST|unix.NLM_F_ACK)
		if err := unix.Sendto(b.fd, b.buf, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
			return fmt.Errorf("send: %w", err)
		}
		// The kernel answers failures unasked, so what comes first is a failure or the answer to the last.
		n, err := unix.Read(b.fd, b.answer[:])
		if err != nil || n < headers {
			return fmt.Errorf("receive %d bytes: %w", n, err)
		}
		if errno := unix.Errno(-int32(binary.NativeEndian.Uint32(b.answer[unix.SizeofNlMsghdr:]))); errno != 0 {
			return fmt.Errorf("%s: %w", plan[binary.NativeEndian.Uint32(b.answer[8:])], errno)
		}
	}
	return nil
}

// append appends the message that adds a virtual server or a real server, of IPv4.
func (b *bare) append(seq uint32, op *ipvs.Op) {
	command := byte(cmdNewService)
	if op.Verb == ipvs.AddReal {
		command = cmdNewDest
	}
	start := len(b.buf)
	b.buf = append(b.buf, make([]byte, headers)...)
	binary.NativeEndian.PutUint16(b.buf[start+4:], b.family)
	binary.NativeEndian.PutUint16(b.buf[start+6:], unix.NLM_F_REQUEST)
	binary.NativeEndian.PutUint32(b.buf[start+8:], seq)
	b.buf[start+unix.SizeofNlMsghdr], b.buf[start+unix.SizeofNlMsghdr+1] = command, 1

	nest := b.open(cmdService)
	b.u16(serviceFamily, unix.AF_INET)
	b.u16(serviceProto, uint16(op.Key.Protocol))
	b.addr(serviceAddr, op.Key.Addr.As4())
	b.port(servicePort, op.Key.Port)
	if op.Verb == ipvs.AddVirtual {
		b.header(serviceSched, len(scheduler)+1)
		b.buf = append(b.buf, scheduler+"\x00\x00"...)
		b.header(serviceFlags, 8)
		b.buf = binary.NativeEndian.AppendUint32(b.buf, 0)
		b.buf = binary.NativeEndian.AppendUint32(b.buf, wholeAddress)
		b.u32(serviceTime, 0)
		b.u32(serviceMask, wholeAddress)
	}
	b.close(nest)
	if op.Verb == ipvs.AddReal {
		nest := b.open(cmdDest)
		b.addr(destAddr, op.RealKey.Addr().As4())
		b.port(destPort, op.RealKey.Port())
		b.u16(destFamily, unix.AF_INET)
		b.u32(destMethod, 0) // masquerade
		b.u32(destWeight, op.Real.Weight)
		b.u32(destUpper, 0)
		b.u32(destLower, 0)
		b.close(nest)
	}
	binary.NativeEndian.PutUint32(b.buf[start:], uint32(len(b.buf)-start))
}

func (b *bare) header(typ uint16, size int) {
	b.buf = binary.NativeEndian.AppendUint16(b.buf, uint16(unix.SizeofNlAttr+size))
	b.buf = binary.NativeEndian.AppendUint16(b.buf, typ)
}

func (b *bare) u16(typ, v uint16) {
	b.header(typ, 2)
	b.buf = append(binary.NativeEndian.AppendUint16(b.buf, v), 0, 0)
}

func (b *bare) u32(typ uint16, v uint32) {
	b.header(typ, 4)
	b.buf = binary.NativeEndian.AppendUint32(b.buf, v)
}

func (b *bare) port(typ, port uint16) {
	b.header(typ, 2)
	b.buf = append(binary.BigEndian.AppendUint16(b.buf, port), 0, 0)
}

func (b *bare) addr(typ uint16, a [4]byte) {
	b.header(typ, sizeAddr)
	b.buf = append(append(b.buf, a[:]...), make([]byte, sizeAddr-len(a))...)
}

func (b *bare) open(typ uint16) int {
	start := len(b.buf)
	b.header(typ|unix.NLA_F_NESTED, 0)
	return start
}

func (b *bare) close(start int) {
	binary.NativeEndian.PutUint16(b.buf[start:], uint16(len(b.buf)-start))
}
