package filter

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// borders are prefixes as nft gives them to the kernel.
func borders(prefixes []netip.Prefix) []kernelElement {
	var list []kernelElement
	for _, p := range prefixes {
		begin := p.Addr().AsSlice()
		list = append(list, kernelElement{key: begin})
		if end := behind(begin, p.Bits()); end != nil {
			list = append(list, kernelElement{key: end, ends: true})
		}
	}
	return list
}

func TestPrefixesAreReadFromTheirBorders(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ipv4 := rapid.Bool().Draw(t, "ipv4")
		c, size := podsSet(ipv4), 16
		if ipv4 {
			size = 4
		}
		// Few values of each byte, so that prefixes are side by side, and at both ends.
		one := rapid.Custom(func(t *rapid.T) netip.Prefix {
			raw := rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 127, 128, 255}), size, size).Draw(t, "addr")
			addr, _ := netip.AddrFromSlice(raw)
			return netip.PrefixFrom(addr, rapid.IntRange(0, 8*size).Draw(t, "bits")).Masked()
		})
		want := NormalPrefixes(rapid.SliceOfN(one, 0, 8).Draw(t, "prefixes"))
		want = slices.DeleteFunc(want, func(p netip.Prefix) bool { return p.Addr().Is4In6() })
		elements, err := c.prefixesFrom(rapid.Permutation(borders(want)).Draw(t, "in any order"))
		if err != nil {
			t.Fatal(err)
		}
		var got []netip.Prefix
		for _, e := range elements {
			got = append(got, netip.MustParsePrefix(strings.Join(e.Key, " ")))
		}
		if !slices.Equal(got, want) {
			t.Fatalf("there are %v, want %v", got, want)
		}
	})
}

func TestWhatIsNoPrefixIsLeftToNft(t *testing.T) {
	at := func(last byte, ends bool) kernelElement {
		return kernelElement{key: []byte{10, 0, 0, last}, ends: ends}
	}
	for name, kernel := range map[string][]kernelElement{
		"a range":                   {at(1, false), at(4, true)},
		"one that ends too late":    {at(4, false), at(12, true)},
		"one without an end":        {at(1, false), at(3, false), at(4, true)},
		"one to the last address":   {at(1, false)},
		"an address of IPv6":        {{key: make([]byte, 16)}},
		"an element with a verdict": {{key: []byte{10, 0, 0, 0}, value: "goto x"}},
	} {
		if got, err := podsSet(true).prefixesFrom(kernel); err == nil {
			t.Errorf("%s: read as %v", name, got)
		}
	}
}

// attributes are TLVs as the kernel writes them.
func attributes(pairs ...any) []byte {
	var all []byte
	for i := 0; i < len(pairs); i += 2 {
		value, _ := pairs[i+1].([]byte)
		kind, _ := pairs[i].(int)
		all = binary.NativeEndian.AppendUint16(all, uint16(unix.SizeofNlAttr+len(value)))
		all = binary.NativeEndian.AppendUint16(all, uint16(kind))
		all = append(all, value...)
		all = append(all, make([]byte, -len(value)&3)...)
	}
	return all
}

func TestElementsAreReadAsTheKernelHasThem(t *testing.T) {
	key := attributes(unix.NFTA_DATA_VALUE, []byte{10, 1, 0, 10, 0x75, 0x80, 0, 0})
	verdict := func(code int32, chain string) []byte {
		return attributes(unix.NFTA_DATA_VERDICT, attributes(
			unix.NFTA_VERDICT_CODE, binary.BigEndian.AppendUint32(nil, uint32(code)), unix.NFTA_VERDICT_CHAIN, append([]byte(chain), 0)))
	}
	c := masqueradeMap(true, 6)
	for name, test := range map[string]struct {
		element []byte
		want    string
	}{
		"a verdict":          {attributes(unix.NFTA_SET_ELEM_KEY, key, unix.NFTA_SET_ELEM_DATA, verdict(unix.NFT_GOTO, "masquerade-all")), "10.1.0.10 . 30080 : goto masquerade-all"},
		"another":            {attributes(unix.NFTA_SET_ELEM_KEY, key, unix.NFTA_SET_ELEM_DATA, verdict(unix.NFT_JUMP, "x")), "10.1.0.10 . 30080 : jump x"},
		"none, as in a set":  {attributes(unix.NFTA_SET_ELEM_KEY, key), "10.1.0.10 . 30080 : "},
		"a drop":             {attributes(unix.NFTA_SET_ELEM_KEY, key, unix.NFTA_SET_ELEM_DATA, verdict(0, "")), ""},
		"for all others":     {attributes(unix.NFTA_SET_ELEM_FLAGS, []byte{0, 0, 0, 2}), ""},
		"a range":            {attributes(unix.NFTA_SET_ELEM_KEY, key, unix.NFTA_SET_ELEM_KEY+9, key), ""},
		"without a key":      {nil, ""},
		"with a shorter key": {attributes(unix.NFTA_SET_ELEM_KEY, attributes(unix.NFTA_DATA_VALUE, []byte{10, 1, 0, 10})), ""},
	} {
		var got string
		if e, err := parseElement(test.element); err == nil {
			if list, err := c.fromKernel([]kernelElement{e}); err == nil {
				got = strings.Join(list[0].Key, " . ") + " : " + strings.Join(list[0].Value, " ")
			}
		}
		if got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

func TestKeysAreTakenApartAsTheKernelHasThem(t *testing.T) {
	six := netip.MustParseAddr("fd01::10").AsSlice()
	for name, test := range map[string]struct {
		container container
		key       []byte
		want      string
	}{
		"three parts":               {ownedSet(true), []byte{10, 1, 0, 10, 6, 0, 0, 0, 0x75, 0x80, 0, 0}, "10.1.0.10 . tcp . 30080"},
		"of datagrams":              {internalSet(true), []byte{10, 1, 0, 10, 17, 0, 0, 0, 0, 53, 0, 0}, "10.1.0.10 . udp . 53"},
		"of a map":                  {sourcesMap(true), []byte{10, 1, 0, 10, 132, 0, 0, 0, 0x75, 0x81, 0, 0}, "10.1.0.10 . sctp . 30081"},
		"of a protocol without":     {ownedSet(true), []byte{10, 1, 0, 10, 47, 0, 0, 0, 0, 1, 0, 0}, "10.1.0.10 . 47 . 1"},
		"three parts of IPv6":       {ownedSet(false), slices.Concat(six, []byte{6, 0, 0, 0, 0x75, 0x80, 0, 0}), "fd01::10 . tcp . 30080"},
		"two parts of IPv6":         {masqueradeMap(false, 6), slices.Concat(six, []byte{0x75, 0x80, 0, 0}), "fd01::10 . 30080"},
		"two where three should be": {ownedSet(true), []byte{10, 1, 0, 10, 0x75, 0x80, 0, 0}, ""},
		"three where two should be": {masqueradeMap(true, 6), []byte{10, 1, 0, 10, 6, 0, 0, 0, 0x75, 0x80, 0, 0}, ""},
		"of the other family":       {ownedSet(false), []byte{10, 1, 0, 10, 6, 0, 0, 0, 0x75, 0x80, 0, 0}, ""},
	} {
		parts, err := test.container.keyFrom(test.key)
		if got := strings.Join(parts, " . "); got != test.want || (err == nil) != (test.want != "") {
			t.Errorf("%s: %q, %v, want %q", name, got, err, test.want)
		}
	}
}
