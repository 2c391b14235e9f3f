package filter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Generation is the number of the present ruleset of the network namespace of the calling thread, over all tables and
// whoever writes them. Every transaction that changes anything raises it by one; one that changes nothing leaves it.
func Generation() (uint32, error) {
	req := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETGEN, 0)
	req.AddData(&nl.Nfgenmsg{NfgenFamily: unix.AF_UNSPEC, Version: nl.NFNETLINK_V0})
	answers, err := req.Execute(unix.NETLINK_NETFILTER, unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_NEWGEN)
	if err != nil {
		return 0, fmt.Errorf("nftables: reading the generation: %w", lacking(err))
	}
	if len(answers) != 1 {
		return 0, fmt.Errorf("nftables: reading the generation: %d answers", len(answers))
	}
	id, err := generationID(answers[0])
	if err != nil {
		return 0, fmt.Errorf("nftables: reading the generation: %w", err)
	}
	return id, nil
}

// ErrNoNFTables is why Open and Generation fail on a kernel without nftables, after it has looked for the module.
var ErrNoNFTables = errors.New("the kernel has no nftables (modprobe nf_tables)")

// lacking says what an error of a question to nftables means that cannot be wrong. The kernel answers EINVAL where nfnetlink has no
// nftables (nfnetlink_rcv_msg, Linux 6.1), and has no socket for it where there is no nfnetlink (netlink_create).
func lacking(err error) error {
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EPROTONOSUPPORT) {
		return fmt.Errorf("%w: %w", ErrNoNFTables, err)
	}
	return err
}

// generationID reads the number in a NEWGEN message.
func generationID(msg []byte) (uint32, error) {
	value := attribute(msg, unix.NFTA_GEN_ID)
	if len(value) != 4 {
		return 0, errors.New("message of the kernel without a generation")
	}
	return binary.BigEndian.Uint32(value), nil
}

// attribute is the value of an attribute of an nftables message, which begins with its nfgenmsg; nil if it is not there.
func attribute(msg []byte, kind uint16) []byte {
	if len(msg) < nl.SizeofNfgenmsg {
		return nil
	}
	return firstOf(msg[nl.SizeofNfgenmsg:], kind)
}

// firstOf is the value of the first attribute of a kind; nil if there is none.
func firstOf(attributes []byte, kind uint16) []byte {
	var found []byte
	_ = eachAttribute(attributes, func(k uint16, value []byte) error {
		if k != kind {
			return nil
		}
		found = value
		return errFound
	})
	return found
}

// errFound ends a walk.
var errFound = errors.New("found")

// eachAttribute walks attributes until f has an error, or what follows is none.
func eachAttribute(attributes []byte, f func(kind uint16, value []byte) error) error {
	for len(attributes) >= unix.SizeofNlAttr {
		size := int(binary.NativeEndian.Uint16(attributes))
		if size < unix.SizeofNlAttr || size > len(attributes) {
			return nil
		}
		if err := f(binary.NativeEndian.Uint16(attributes[2:])&nlaTypeMask, attributes[unix.SizeofNlAttr:size]); err != nil {
			return err
		}
		attributes = attributes[min(len(attributes), (size+unix.NLA_ALIGNTO-1)&^(unix.NLA_ALIGNTO-1)):]
	}
	return nil
}

// nlaTypeMask takes the flags off the type of an attribute.
const nlaTypeMask = ^uint16(unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)

// generations remembers which generations were our own transactions, while somebody watches.
//
// The kernel names the process behind a generation by its process id in the first namespace, which says nothing in a
// container. So the generation is read before and after a transaction: if it rose by one, that one is ours; if it rose by
// more, somebody wrote at the same time, none of them counts as ours, and the table is looked at once for nothing. What
// can hide is a change by somebody in the milliseconds of a transaction of ours that changes nothing.
type generations struct {
	mu       sync.Mutex
	watching bool
	ours     map[uint32]struct{}
}

// begin starts the remembering; false if it has been started.
func (g *generations) begin() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.watching {
		return false
	}
	g.watching, g.ours = true, map[uint32]struct{}{}
	return true
}

func (g *generations) end() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.watching, g.ours = false, nil
}

// forget drops what is remembered. Where nobody listens for a while it would only grow; a transaction of ours that somebody hears of all
// the same counts as somebody else's.
func (g *generations) forget() {
	g.mu.Lock()
	defer g.mu.Unlock()
	clear(g.ours)
}

// during runs a transaction. Until it is over, mine waits.
func (g *generations) during(transaction func() error) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.watching {
		return transaction()
	}
	before, errBefore := Generation()
	if err := transaction(); err != nil {
		return err
	}
	after, errAfter := Generation()
	if errBefore == nil && errAfter == nil && after == before+1 {
		g.ours[after] = struct{}{}
	}
	return nil
}

// mine reports whether a generation was our own transaction, and forgets it and those before it.
func (g *generations) mine(id uint32) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, mine := g.ours[id]
	for old := range g.ours {
		if int32(id-old) >= 0 { // the number wraps around
			delete(g.ours, old)
		}
	}
	return mine
}
