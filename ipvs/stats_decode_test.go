package ipvs

import (
	"errors"
	"net/netip"
	"slices"
	"testing"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// someCounters are above what 32 bits hold, each another.
var someCounters = Counters{
	Connections: 1<<32 + 1, InPackets: 1<<33 + 2, OutPackets: 1<<34 + 3, InBytes: 1<<40 + 4, OutBytes: 1<<41 + 5,
}

func attr64(typ uint16, v uint64) []byte { return wire(u16s(12, typ), v) }

func nested(typ uint16, attrs ...[]byte) []byte {
	b := slices.Concat(attrs...)
	return wire(u16s(uint16(4+len(b)), attrNested|typ), b)
}

// wideStats are statistics of 64 bits as Linux 6.1 sends them, with rates after the counters. The attribute has the same
// number for virtual and for real servers.
func wideStats(c Counters) []byte {
	return nested(svcAttrStats64, attr64(statAttrConns, c.Connections), attr64(statAttrInPkts, c.InPackets), attr64(statAttrOutPkts, c.OutPackets),
		attr64(statAttrInBytes, c.InBytes), attr64(statAttrOutBytes, c.OutBytes), attr64(6, 99), attr64(10, 99))
}

// narrowStats are the older ones: connections and packets of 32 bits, and bytes of 64.
func narrowStats(c Counters) []byte {
	return nested(svcAttrStats, attr32(statAttrConns, uint32(c.Connections)), attr32(statAttrInPkts, uint32(c.InPackets)),
		attr32(statAttrOutPkts, uint32(c.OutPackets)), attr64(statAttrInBytes, c.InBytes), attr64(statAttrOutBytes, c.OutBytes), attr32(6, 99))
}

// virtualAttrs are the attributes of a virtual server as Linux 6.1 sends them.
func virtualAttrs(key frontend.Key, c Counters) [][]byte {
	family, addr := u16s(familyIPv6, 0), key.Addr.As16()
	if key.Addr.Is4() {
		v4 := key.Addr.As4()
		family, addr = u16s(familyIPv4, 0), [16]byte{v4[0], v4[1], v4[2], v4[3]}
	}
	return [][]byte{
		wire(u16s(6, svcAttrFamily), family),
		wire(u16s(6, svcAttrProtocol), u16s(uint16(key.Protocol), 0)),
		wire(u16s(20, svcAttrAddr), addr[:]),
		wire(u16s(6, svcAttrPort), []byte{byte(key.Port >> 8), byte(key.Port), 0, 0}),
		wire(u16s(7, svcAttrScheduler), []byte("rr\x00\x00")),
		wire(u16s(12, svcAttrFlags), uint32(2), ^uint32(0)),
		attr32(svcAttrTimeout, 0),
		attr32(svcAttrNetmask, ^uint32(0)),
		narrowStats(Counters{Connections: 7}),
		wideStats(c),
	}
}

func virtualMessage(attrs ...[]byte) message {
	return message{payload: wire("01010000", nested(attrService, attrs...))}
}

func TestCountersOfAVirtualServerAreReadWithAllTheirBits(t *testing.T) {
	for _, name := range []string{"tcp://10.1.0.10:30080", "udp://[fd01::10]:53", "sctp://10.1.0.10:65535"} {
		key := mustKey(name)
		got, c, ok, err := decodeVirtualStats(virtualMessage(virtualAttrs(key, someCounters)...))
		if got != key || c != someCounters || !ok || err != nil {
			t.Errorf("%s: %s, %+v, %v, %v", key, got, c, ok, err)
		}
	}
}

func TestAnOlderKernelHasItsCountersOf32Bits(t *testing.T) {
	old := Counters{Connections: 1<<32 - 1, InPackets: 2, OutPackets: 3, InBytes: 1<<40 + 4, OutBytes: 5}
	attrs := append(virtualAttrs(mustKey("tcp://10.1.0.10:30080"), Counters{})[:8], narrowStats(old))
	if _, c, ok, err := decodeVirtualStats(virtualMessage(attrs...)); c != old || !ok || err != nil {
		t.Errorf("%+v, %v, %v, want %+v", c, ok, err, old)
	}
	_, real, err := decodeRealStats(destMessage(destAttrs(narrowStats(old))...), netip.MustParseAddr("10.1.0.10"))
	if real.Counters != old || err != nil {
		t.Errorf("%+v, %v, want %+v", real, err, old)
	}
}

func TestCountersOfARealServerComeWithItsConfiguration(t *testing.T) {
	m := destMessage(destAttrs(narrowStats(Counters{}), wideStats(someCounters))...)
	want := RealStats{
		RealServer:  RealServer{Forwarding: Route, Weight: 70000, UpperThreshold: 20, LowerThreshold: 10},
		Connections: Connections{Active: 3, Inactive: 4},
		Counters:    someCounters,
	}
	addr, got, err := decodeRealStats(m, netip.MustParseAddr("10.1.0.10"))
	if addr.String() != "10.244.1.2:8080" || got != want || err != nil {
		t.Errorf("%s: %+v, %v, want %+v", addr, got, err, want)
	}
}

func TestACountBelowZeroIsNoneAtAll(t *testing.T) {
	m := destMessage(destAttrs(attr32(destAttrActive, ^uint32(0)), wideStats(Counters{}))...)
	_, got, err := decodeRealStats(m, netip.MustParseAddr("10.1.0.10"))
	if want := (Connections{Inactive: 4}); got.Connections != want || err != nil {
		t.Errorf("%+v, %v", got.Connections, err)
	}
}

func TestAVirtualServerWithAFirewallMarkHasNoAddressAndIsLeftOut(t *testing.T) {
	attrs := virtualAttrs(mustKey("tcp://10.1.0.10:30080"), someCounters)
	m := virtualMessage(append([][]byte{attrs[0], attr32(svcAttrMark, 7)}, attrs[4:]...)...)
	if key, c, ok, err := decodeVirtualStats(m); ok || err != nil {
		t.Errorf("%v, %v, %v", key, c, err)
	}
}

func TestAPartOfCountersIsAnErrorAndNotZero(t *testing.T) {
	all := virtualAttrs(mustKey("tcp://10.1.0.10:30080"), someCounters)
	for name, attrs := range map[string][][]byte{
		"no family":                      slices.Delete(slices.Clone(all), 0, 1),
		"no protocol":                    slices.Delete(slices.Clone(all), 1, 2),
		"no address":                     slices.Delete(slices.Clone(all), 2, 3),
		"no port":                        slices.Delete(slices.Clone(all), 3, 4),
		"no statistics":                  all[:8],
		"empty statistics":               append(slices.Clone(all), nested(svcAttrStats64)),
		"a counter missing":              append(slices.Clone(all), nested(svcAttrStats64, attr64(statAttrConns, 1))),
		"a counter of two bytes":         append(slices.Clone(all), nested(svcAttrStats64, wire(u16s(6, statAttrConns), u16s(1, 0)))),
		"statistics that are cut off":    append(slices.Clone(all), nested(svcAttrStats64, wire(u16s(40, statAttrConns), uint32(1)))),
		"a protocol of nine bits":        append(slices.Clone(all), wire(u16s(6, svcAttrProtocol), u16s(0x106, 0))),
		"an address of another family":   append(slices.Clone(all), wire(u16s(6, svcAttrFamily), u16s(99, 0))),
		"an IPv6 address of four bytes":  append(slices.Clone(all), wire(u16s(6, svcAttrFamily), u16s(familyIPv6, 0)), wire(u16s(8, svcAttrAddr), uint32(1))),
		"an attribute that is cut short": append(slices.Clone(all), wire(u16s(40, svcAttrTimeout))),
	} {
		if key, c, ok, err := decodeVirtualStats(virtualMessage(attrs...)); !errors.Is(err, errMalformed) || ok {
			t.Errorf("%s: %v, %v, %v", name, key, c, err)
		}
	}
	for name, m := range map[string]message{"no header": {payload: wire("0101")}, "no attribute": {payload: wire("01010000")}} {
		if _, _, _, err := decodeVirtualStats(m); !errors.Is(err, errMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, s, err := decodeRealStats(destMessage(destAttrs()...), netip.MustParseAddr("10.1.0.10")); !errors.Is(err, errMalformed) {
		t.Errorf("a real server without statistics: %v, %v", s, err)
	}
}
