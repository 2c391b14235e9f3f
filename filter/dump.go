package filter

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
	"sigs.k8s.io/knftables"
)

// listByNetlink asks the kernel itself: nothing is executed. What somebody else wrote in a way that is not understood here is left to nft.
func listByNetlink(ctx context.Context) (listing, error) {
	for range 3 {
		l, err := dumpOnce()
		switch {
		case err == nil:
			return l, nil
		case errors.Is(err, unix.EPERM):
			return listing{}, fmt.Errorf("netlink: %w", err)
		case ctx.Err() != nil:
			return listing{}, ctx.Err()
		case errors.Is(err, errStrange):
			return listByNft(ctx)
		}
	}
	return listByNft(ctx)
}

// errMoved is that somebody wrote while the table was read.
var errMoved = errors.New("the ruleset changed meanwhile")

// dumpOnce reads the table. It is one moment if nobody wrote meanwhile: else it is errMoved.
func dumpOnce() (listing, error) {
	before, err := Generation()
	if err != nil {
		return listing{}, err
	}
	l, err := dump()
	if err != nil {
		return listing{}, err
	}
	after, err := Generation()
	if err == nil && after != before {
		err = errMoved
	}
	return l, err
}

func dump() (listing, error) {
	l := listing{present: true, elements: map[string][]*knftables.Element{}, types: map[string]string{}}
	err := ask(unix.NFT_MSG_GETSET, unix.NFT_MSG_NEWSET, []*nl.RtAttr{named(unix.NFTA_SET_TABLE, Name)}, func(msg []byte) error {
		flags := attribute(msg, unix.NFTA_SET_FLAGS)
		kind := "set"
		if len(flags) == 4 {
			if binary.BigEndian.Uint32(flags)&unix.NFT_SET_ANONYMOUS != 0 {
				return nil
			}
			if binary.BigEndian.Uint32(flags)&unix.NFT_SET_MAP != 0 {
				kind = "map"
			}
		}
		l.types[text(attribute(msg, unix.NFTA_SET_NAME))] = kind
		return nil
	})
	if errors.Is(err, unix.ENOENT) {
		return listing{}, nil // no such table
	}
	if err != nil {
		return listing{}, err
	}
	err = ask(unix.NFT_MSG_GETCHAIN, unix.NFT_MSG_NEWCHAIN, nil, func(msg []byte) error {
		if text(attribute(msg, unix.NFTA_CHAIN_TABLE)) == Name {
			l.chains = append(l.chains, text(attribute(msg, unix.NFTA_CHAIN_NAME)))
		}
		return nil
	})
	if err != nil {
		return listing{}, err
	}
	err = ask(unix.NFT_MSG_GETRULE, unix.NFT_MSG_NEWRULE, []*nl.RtAttr{named(unix.NFTA_RULE_TABLE, Name)}, func(msg []byte) error {
		if text(attribute(msg, unix.NFTA_RULE_TABLE)) == Name {
			l.rules = append(l.rules, &knftables.Rule{
				Chain: text(attribute(msg, unix.NFTA_RULE_CHAIN)), Comment: commentOf(attribute(msg, unix.NFTA_RULE_USERDATA)),
			})
		}
		return nil
	})
	if err != nil {
		return listing{}, err
	}
	return l, l.dumpElements()
}

// dumpElements reads those of the sets and maps that mean something to us.
func (l listing) dumpElements() error {
	all := containers()
	for id := range l.listIDs() {
		all = append(all, listSets(id)...)
	}
	for _, c := range all {
		if _, exists := l.types[c.name()]; !exists {
			continue
		}
		kernel, err := c.settled()
		if err != nil {
			return fmt.Errorf("%s: %w", c.name(), err)
		}
		if l.elements[c.name()], err = c.fromKernel(kernel); err != nil {
			return fmt.Errorf("%s: %w", c.name(), err)
		}
	}
	return nil
}

// settled are the elements of a set once two dumps agree. For some milliseconds after many were added the kernel makes
// the hash table larger, and a dump that goes on by position in it misses some: 488 of 2,000 (Linux 6.18), which is no other
// generation.
func (c container) settled() ([]kernelElement, error) {
	before, err := c.dump(0)
	for range 10 {
		if err != nil {
			return nil, err
		}
		var after []kernelElement
		if after, err = c.dump(len(before)); err == nil && slices.EqualFunc(before, after, kernelElement.equal) {
			return after, nil
		}
		before = after
	}
	return nil, errors.Join(err, errMoved)
}

// dump asks for the elements, of which there are about n.
func (c container) dump(n int) (kernel []kernelElement, err error) {
	kernel = slices.Grow(kernel, n)
	about := []*nl.RtAttr{named(unix.NFTA_SET_ELEM_LIST_TABLE, Name), named(unix.NFTA_SET_ELEM_LIST_SET, c.name())}
	err = ask(unix.NFT_MSG_GETSETELEM, unix.NFT_MSG_NEWSETELEM, about, func(msg []byte) error {
		return eachAttribute(attribute(msg, unix.NFTA_SET_ELEM_LIST_ELEMENTS), func(_ uint16, element []byte) error {
			e, err := parseElement(element)
			kernel = append(kernel, e)
			return err
		})
	})
	return kernel, err
}

// ask dumps objects of family inet.
func ask(request, answer uint16, about []*nl.RtAttr, each func(msg []byte) error) error {
	req := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_NFTABLES<<8|int(request), unix.NLM_F_DUMP)
	req.AddData(&nl.Nfgenmsg{NfgenFamily: unix.NFPROTO_INET, Version: nl.NFNETLINK_V0})
	for _, a := range about {
		req.AddData(a)
	}
	var failed error
	err := req.ExecuteIter(unix.NETLINK_NETFILTER, unix.NFNL_SUBSYS_NFTABLES<<8|answer, func(msg []byte) bool {
		failed = each(msg)
		return failed == nil
	})
	return errors.Join(err, failed)
}

func named(kind int, name string) *nl.RtAttr { return nl.NewRtAttr(kind, nl.ZeroTerminated(name)) }

// text is a string of the kernel's, which ends in a zero.
func text(value []byte) string { return strings.TrimRight(string(value), "\x00") }

// commentOf finds the comment of a rule in what nft keeps with it: values, each behind a byte for its kind, of which the
// comment is 0, and one for its length.
func commentOf(userdata []byte) *string {
	for len(userdata) >= 2 {
		kind, size := userdata[0], int(userdata[1])
		if len(userdata) < 2+size {
			return nil
		}
		if kind == 0 {
			comment := text(userdata[2 : 2+size])
			return &comment
		}
		userdata = userdata[2+size:]
	}
	return nil
}
