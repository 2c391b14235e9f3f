package ipvs

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// wire writes expected bytes down: integers in the order of the machine, everything else as it stands.
func wire(parts ...any) []byte {
	var b []byte
	for _, p := range parts {
		switch v := p.(type) {
		case uint16:
			b = binary.NativeEndian.AppendUint16(b, v)
		case uint32:
			b = binary.NativeEndian.AppendUint32(b, v)
		case uint64:
			b = binary.NativeEndian.AppendUint64(b, v)
		case string: // bytes in hexadecimal, which have the same order everywhere
			raw, err := hex.DecodeString(v)
			if err != nil {
				panic(err)
			}
			b = append(b, raw...)
		case []byte:
			b = append(b, v...)
		default:
			panic("wire: a type that is not known")
		}
	}
	return b
}

func TestEveryOperationIsTheMessageThatTheKernelExpects(t *testing.T) {
	const family, seq = 0x21, 7
	var (
		v4   = mustKey("tcp://10.1.0.10:30080")
		v6   = mustKey("udp://[fd01::10]:53")
		real = netip.MustParseAddrPort("10.244.1.2:8080")

		addr4   = "0a01000a" + "000000000000000000000000"
		addr6   = "fd010000000000000000000000000010"
		keyOf4  = wire(u16s(6, 1), u16s(2, 0), u16s(6, 2), u16s(6, 0), u16s(20, 3), addr4, u16s(6, 4), "75800000")
		keyOf6  = wire(u16s(6, 1), u16s(10, 0), u16s(6, 2), u16s(17, 0), u16s(20, 3), addr6, u16s(6, 4), "00350000")
		realKey = wire(u16s(20, 1), "0af40102"+"000000000000000000000000", u16s(6, 2), "1f900000", u16s(6, 11), u16s(2, 0))
		nested  = func(typ uint16, b []byte) []byte { return wire(u16s(uint16(4+len(b)), 0x8000|typ), b) }
		message = func(cmd string, b ...[]byte) []byte {
			body := wire(cmd + "010000")
			for _, x := range b {
				body = append(body, x...)
			}
			return wire(uint32(16+len(body)), u16s(family, 1), uint32(seq), uint32(0), body)
		}
	)
	for _, c := range []struct {
		name string
		op   Op
		want []byte
	}{
		{
			"AddVirtual sends the whole configuration and a mask over all flags",
			Op{Verb: AddVirtual, Key: v4, Virtual: VirtualServer{Scheduler: "sh", Flags: Sched1 | Sched2}},
			message("01", nested(1, wire(keyOf4, u16s(7, 6), "73680000", u16s(12, 7), uint32(0x18), uint32(0xffffffff),
				u16s(8, 8), uint32(0), u16s(8, 9), "ffffffff"))),
		},
		{
			"SetVirtual writes an IPv4 prefix as a mask in network order",
			Op{Verb: SetVirtual, Key: v4, Virtual: VirtualServer{"rr", Persistent, 300, 20}},
			message("02", nested(1, wire(keyOf4, u16s(7, 6), "72720000", u16s(12, 7), uint32(1), uint32(0xffffffff),
				u16s(8, 8), uint32(300), u16s(8, 9), "fffff000"))),
		},
		{
			"an IPv6 prefix is a number in the order of the machine",
			Op{Verb: AddVirtual, Key: v6, Virtual: VirtualServer{"wrr", Persistent | OnePacket, 60, 64}},
			message("01", nested(1, wire(keyOf6, u16s(8, 6), "77727200", u16s(12, 7), uint32(5), uint32(0xffffffff),
				u16s(8, 8), uint32(60), u16s(8, 9), uint32(64)))),
		},
		{
			"DelVirtual sends the key",
			Op{Verb: DelVirtual, Key: v6, Virtual: VirtualServer{Scheduler: "rr"}},
			message("03", nested(1, keyOf6)),
		},
		{
			"AddReal sends all 32 bits of a weight",
			Op{Verb: AddReal, Key: v4, RealKey: real, Real: RealServer{Weight: 70000}},
			message("05", nested(1, keyOf4), nested(2, wire(realKey, u16s(8, 3), uint32(0), u16s(8, 4), uint32(70000),
				u16s(8, 5), uint32(0), u16s(8, 6), uint32(0)))),
		},
		{
			"SetReal sends forwarding method and thresholds",
			Op{Verb: SetReal, Key: v4, RealKey: real, Real: RealServer{Route, 1, 20, 10}},
			message("06", nested(1, keyOf4), nested(2, wire(realKey, u16s(8, 3), uint32(3), u16s(8, 4), uint32(1),
				u16s(8, 5), uint32(20), u16s(8, 6), uint32(10)))),
		},
		{
			"DelReal sends both keys",
			Op{Verb: DelReal, Key: v4, RealKey: real, Real: RealServer{Weight: 3}},
			message("07", nested(1, keyOf4), nested(2, realKey)),
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := appendOp(nil, family, seq, &c.op)
			if diff := cmp.Diff(hex.Dump(c.want), hex.Dump(got)); diff != "" {
				t.Errorf("the message differs (-want +got):\n%s", diff)
			}
			if len(got) > maxMessage {
				t.Errorf("%d bytes are more than maxMessage", len(got))
			}
		})
	}
}

func u16s(v ...uint16) []byte {
	var b []byte
	for _, x := range v {
		b = binary.NativeEndian.AppendUint16(b, x)
	}
	return b
}

func mustKey(s string) frontend.Key {
	k, err := frontend.ParseKey(s)
	if err != nil {
		panic(err)
	}
	return k
}

func TestNoOperationIsLongerThanMaxMessage(t *testing.T) {
	long := VirtualServer{Scheduler: "a-name-that-is-far-longer-than-any-scheduler-ever-had"}
	for _, verb := range append(Verbs(), 0) {
		op := Op{Verb: verb, Key: mustKey("tcp://[fd01::10]:1"), Virtual: long, RealKey: netip.MustParseAddrPort("[fd02::1]:2")}
		if n := len(appendOp(nil, 1, 1, &op)); n > maxMessage || n%alignment != 0 {
			t.Errorf("%s: %d bytes", verb, n)
		}
	}
}

func TestEncodingAllocatesNothing(t *testing.T) {
	op := Op{Verb: AddReal, Key: mustKey("tcp://10.1.0.10:30080"), RealKey: netip.MustParseAddrPort("10.244.1.2:8080")}
	b := make([]byte, 0, maxMessage)
	if n := testing.AllocsPerRun(100, func() { b = appendOp(b[:0], 1, 1, &op) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestAnOperationWithoutAddressesHasNoFamilyAndDoesNotPanic(t *testing.T) {
	for _, verb := range append(Verbs(), 0) {
		b := appendOp(nil, 1, 1, &Op{Verb: verb})
		m, _, err := nextMessage(b)
		if err != nil {
			t.Fatal(err)
		}
		attrs, err := m.attrs()
		if err != nil {
			t.Fatal(err)
		}
		key, err := findAttr(attrs, attrService)
		if err != nil {
			t.Fatal(err)
		}
		family, err := findAttr(key, svcAttrFamily)
		if err != nil || getU16(family) != 0 {
			t.Errorf("%s: family % x, %v", verb, family, err)
		}
	}
}

func TestPrefixesSurviveTheNetmask(t *testing.T) {
	for _, addr := range []netip.Addr{netip.MustParseAddr("10.1.0.10"), netip.MustParseAddr("fd01::10")} {
		for prefix := range uint8(addr.BitLen()) {
			if got := prefixOf(addr, netmask(addr, prefix)); got != prefix {
				t.Errorf("%s/%d came back as /%d", addr, prefix, got)
			}
		}
		if got := prefixOf(addr, netmask(addr, uint8(addr.BitLen()))); got != 0 {
			t.Errorf("the whole address %s came back as /%d", addr, got)
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	op := Op{Verb: AddReal, Key: mustKey("tcp://10.1.0.10:30080"), RealKey: netip.MustParseAddrPort("10.244.1.2:8080")}
	buf := make([]byte, 0, maxMessage)
	for b.Loop() {
		buf = appendOp(buf[:0], 1, 1, &op)
	}
}
