package ipvs

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
)

// destMessage is the answer of the kernel with one real server, made of attributes.
func destMessage(attrs ...[]byte) message {
	nested := slices.Concat(attrs...)
	return message{payload: wire("08010000", u16s(uint16(4+len(nested)), attrNested|attrDest), nested)}
}

func attr32(typ uint16, v uint32) []byte { return wire(u16s(8, typ), v) }

func destAttrs(overrides ...[]byte) [][]byte {
	return append([][]byte{
		wire(u16s(20, destAttrAddr), "0af40102"+"000000000000000000000000"),
		wire(u16s(6, destAttrPort), "1f900000"),
		attr32(destAttrForwarding, 0x103), // the kernel's own flags come along
		attr32(destAttrWeight, 70000),
		attr32(destAttrUpper, 20), attr32(destAttrLower, 10),
		attr32(destAttrActive, 3), attr32(destAttrInactive, 4),
	}, overrides...)
}

func TestARealServerIsReadWhole(t *testing.T) {
	want := dest{
		key:   netip.MustParseAddrPort("10.244.1.2:8080"),
		real:  RealServer{Forwarding: Route, Weight: 70000, UpperThreshold: 20, LowerThreshold: 10},
		conns: Connections{Active: 3, Inactive: 4},
	}
	family := wire(u16s(6, destAttrFamily), u16s(familyIPv4, 0))
	stats := wire(u16s(8, 10), "01020304") // IPVS_DEST_ATTR_STATS and whatever may come after it
	later := wire(u16s(8, 99), "01020304")
	for name, m := range map[string]message{
		"as Linux 6.1 sends it":                    destMessage(destAttrs(family, stats)...),
		"with attributes that came later":          destMessage(destAttrs(family, later)...),
		"without a family, as Linux 3.17 sends it": destMessage(destAttrs()...),
	} {
		got, err := decodeDest(m, netip.MustParseAddr("10.1.0.10"))
		if err != nil || got != want {
			t.Errorf("%s: %v, %v, want %v", name, got, err, want)
		}
	}
}

func TestARealServerOfTheOtherFamilyIsReadInItsOwn(t *testing.T) {
	m := destMessage(destAttrs(
		wire(u16s(20, destAttrAddr), "fd020000000000000000000000000001"),
		wire(u16s(6, destAttrFamily), u16s(familyIPv6, 0)))...)
	got, err := decodeDest(m, netip.MustParseAddr("10.1.0.10"))
	if want := netip.MustParseAddrPort("[fd02::1]:8080"); err != nil || got.key != want {
		t.Errorf("%v, %v, want %s", got.key, err, want)
	}
}

func TestAPartOfARealServerIsAnErrorAndNotZero(t *testing.T) {
	all := destAttrs()
	for missing := range all[:6] {
		m := destMessage(slices.Delete(slices.Clone(all), missing, missing+1)...)
		if got, err := decodeDest(m, netip.MustParseAddr("10.1.0.10")); !errors.Is(err, errMalformed) {
			t.Errorf("without attribute %d: %v, %v", missing+1, got, err)
		}
	}
	short := wire(u16s(8, destAttrAddr), "0af40102")
	family := wire(u16s(6, destAttrFamily), u16s(familyIPv6, 0))
	if got, err := decodeDest(destMessage(destAttrs(short, family)...), netip.Addr{}); !errors.Is(err, errMalformed) {
		t.Errorf("an IPv6 address of four bytes: %v, %v", got, err)
	}
}

func TestMessagesAreCutWhereTheirLengthsSay(t *testing.T) {
	two := wire(uint32(18), u16s(2, 0), uint32(5), uint32(0), "abcd", "0000", // padded
		uint32(16), u16s(3, 0), uint32(6), uint32(0))
	first, rest, err := nextMessage(two)
	if err != nil || first.seq != 5 || len(first.payload) != 2 {
		t.Fatalf("%v, %v", first, err)
	}
	second, rest, err := nextMessage(rest)
	if err != nil || second.seq != 6 || second.typ != msgDone || len(rest) != 0 {
		t.Fatalf("%v, %v, %d bytes left", second, err, len(rest))
	}
	for name, b := range map[string][]byte{
		"nothing":                   nil,
		"half a header":             two[:10],
		"longer than what is there": two[:17],
		"shorter than its header":   wire(uint32(15), u16s(2, 0), uint32(5), uint32(0)),
	} {
		if _, _, err := nextMessage(b); !errors.Is(err, errMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTheFamilyIsInTheAnswerToTheLookUp(t *testing.T) {
	m := message{payload: wire("01020000", u16s(9, ctrlAttrName), "4950565300000000", u16s(6, ctrlAttrID), u16s(0x21, 0))}
	if id, err := decodeFamily(m); err != nil || id != 0x21 {
		t.Errorf("%#x, %v", id, err)
	}
	for name, payload := range map[string][]byte{
		"no generic header": wire("0102"),
		"no attribute":      wire("01020000"),
		"an empty number":   wire("01020000", u16s(4, ctrlAttrID)),
	} {
		if _, err := decodeFamily(message{payload: payload}); !errors.Is(err, errMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	m := destMessage(destAttrs()...)
	f.Add(wire(uint32(16+len(m.payload)), u16s(0x21, 2), uint32(5), uint32(0), m.payload), true)
	f.Add(wire(uint32(36), u16s(msgError, 0), uint32(5), uint32(0), uint32(0xffffffef), "00112233445566778899aabbccddeeff"), false)
	f.Add(wire(uint32(20), u16s(msgDone, 2), uint32(5), uint32(0), uint32(0)), false)
	m = virtualMessage(virtualAttrs(mustKey("udp://[fd01::10]:53"), someCounters)...)
	f.Add(wire(uint32(16+len(m.payload)), u16s(0x21, 2), uint32(5), uint32(0), m.payload), true)
	f.Add([]byte{}, false)
	f.Fuzz(func(t *testing.T, b []byte, six bool) {
		virtual := netip.MustParseAddr("10.1.0.10")
		if six {
			virtual = netip.MustParseAddr("fd01::10")
		}
		for len(b) > 0 {
			m, rest, err := nextMessage(b)
			if err != nil {
				return
			}
			if len(rest) >= len(b) {
				t.Fatal("nothing was cut off")
			}
			b = rest
			if d, err := decodeDest(m, virtual); err == nil && !d.key.IsValid() {
				t.Errorf("a real server without address: %v", d)
			}
			if key, _, ok, err := decodeVirtualStats(m); ok && (err != nil || !key.Addr.IsValid()) {
				t.Errorf("a virtual server without address: %v, %v", key, err)
			}
			// Any answer will do, as long as there is one.
			_, _, _ = decodeRealStats(m, virtual)
			_, _ = decodeFamily(m)
			_ = m.failure()
		}
	})
}
