package filter

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
	"sigs.k8s.io/knftables"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// kernelElement is an element of a set as the kernel has it.
type kernelElement struct {
	key   []byte
	ends  bool   // of an interval set: what begins before it does not reach it
	value string // of a map, as nft writes it
}

func (e kernelElement) equal(o kernelElement) bool {
	return bytes.Equal(e.key, o.key) && e.ends == o.ends && e.value == o.value
}

// errStrange is that an element is none that an agent makes: nft is asked what it is.
var errStrange = errors.New("an element of another kind")

func parseElement(attributes []byte) (kernelElement, error) {
	var e kernelElement
	err := eachAttribute(attributes, func(kind uint16, value []byte) error {
		switch kind {
		case unix.NFTA_SET_ELEM_KEY:
			e.key = firstOf(value, unix.NFTA_DATA_VALUE)
		case unix.NFTA_SET_ELEM_DATA:
			var err error
			e.value, err = verdictOf(firstOf(value, unix.NFTA_DATA_VERDICT))
			return err
		case unix.NFTA_SET_ELEM_FLAGS:
			if len(value) != 4 || binary.BigEndian.Uint32(value)&^unix.NFT_SET_ELEM_INTERVAL_END != 0 {
				return errStrange
			}
			e.ends = binary.BigEndian.Uint32(value) != 0
		case unix.NFTA_SET_ELEM_KEY + 9: // NFTA_SET_ELEM_KEY_END: a range in a concatenation
			return errStrange
		}
		return nil
	})
	if err == nil && e.key == nil {
		err = errStrange
	}
	return e, err
}

// verdictOf is a jump or goto as nft writes it.
func verdictOf(attributes []byte) (string, error) {
	code, chain := firstOf(attributes, unix.NFTA_VERDICT_CODE), text(firstOf(attributes, unix.NFTA_VERDICT_CHAIN))
	if len(code) != 4 {
		return "", errStrange
	}
	switch int32(binary.BigEndian.Uint32(code)) { //nolint:gosec // a number below zero is what the kernel means
	case unix.NFT_JUMP:
		return "jump " + chain, nil
	case unix.NFT_GOTO:
		return "goto " + chain, nil
	}
	return "", errStrange
}

// fromKernel are elements as nft lists them.
func (c container) fromKernel(kernel []kernelElement) ([]*knftables.Element, error) {
	if c.kind == pods || c.kind == allowed || c.kind == denied {
		return c.prefixesFrom(kernel)
	}
	list := make([]*knftables.Element, 0, len(kernel))
	elements := make([]knftables.Element, len(kernel)) // in one piece: there may be thousands
	for i, e := range kernel {
		key, err := c.keyFrom(e.key)
		if err != nil || e.ends {
			return nil, errStrange
		}
		element := &elements[i]
		element.Key = key
		if e.value != "" {
			element.Value = []string{e.value}
		}
		list = append(list, element)
	}
	return list, nil
}

// keyFrom takes a concatenation apart: each part begins at a multiple of four bytes.
func (c container) keyFrom(key []byte) ([]string, error) {
	size := c.addrSize()
	parts := 2
	if c.kind == masquerade {
		parts = 1
	}
	if len(key) != size+4*parts {
		return nil, errStrange
	}
	addr, _ := netip.AddrFromSlice(key[:size])
	texts := append(make([]string, 0, 1+parts), addr.String())
	if parts == 2 {
		texts = append(texts, protocolText(key[size]))
		size += 4
	}
	return append(texts, strconv.Itoa(int(binary.BigEndian.Uint16(key[size:])))), nil
}

// protocolText is the name of a protocol that can be balanced, and the number of any other.
func protocolText(number byte) string {
	if p := frontend.Protocol(number); slices.Contains(frontend.Protocols(), p) {
		return p.String()
	}
	return strconv.Itoa(int(number))
}

func (c container) addrSize() int {
	if c.ipv4 {
		return 4
	}
	return 16
}

// prefixesFrom makes prefixes of the borders that an interval set consists of.
func (c container) prefixesFrom(kernel []kernelElement) ([]*knftables.Element, error) {
	for _, e := range kernel {
		if len(e.key) != c.addrSize() || e.value != "" {
			return nil, errStrange
		}
	}
	slices.SortFunc(kernel, func(a, b kernelElement) int {
		if order := bytes.Compare(a.key, b.key); order != 0 || a.ends == b.ends {
			return order
		}
		if a.ends { // what ends there comes before what begins there
			return -1
		}
		return 1
	})
	var list []*knftables.Element
	for i, e := range kernel {
		if e.ends {
			continue
		}
		var end []byte // nil at the end of all addresses
		if i+1 < len(kernel) {
			if end = kernel[i+1].key; !kernel[i+1].ends {
				return nil, fmt.Errorf("%w: an interval without an end", errStrange)
			}
		}
		p, ok := prefixBetween(e.key, end)
		if !ok {
			return nil, fmt.Errorf("%w: a range that is no prefix", errStrange)
		}
		list = append(list, &knftables.Element{Key: []string{p.String()}})
	}
	return list, nil
}

// prefixBetween is the prefix that begins with an address and ends before another; nil is behind the last.
func prefixBetween(begin, end []byte) (netip.Prefix, bool) {
	addr, ok := netip.AddrFromSlice(begin)
	if !ok {
		return netip.Prefix{}, false
	}
	for bits := range addr.BitLen() + 1 {
		p := netip.PrefixFrom(addr, bits)
		if p != p.Masked() {
			continue
		}
		if bytes.Equal(behind(begin, bits), end) {
			return p, true
		}
	}
	return netip.Prefix{}, false
}

// behind is the first address behind a prefix; nil if there is none.
func behind(addr []byte, bits int) []byte {
	if bits == 0 {
		return nil
	}
	next := slices.Clone(addr)
	carry := 1 << (7 - (bits-1)%8)
	for i := (bits - 1) / 8; i >= 0; i-- {
		sum := int(next[i]) + carry
		next[i] = byte(sum)
		if sum < 256 {
			return next
		}
		carry = 1
	}
	return nil
}
