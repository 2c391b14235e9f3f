package host

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

func udp(text string) frontend.Key {
	ap := netip.MustParseAddrPort(text)
	return frontend.NewKey(ap.Addr(), frontend.UDP, ap.Port())
}

func addrPorts(texts ...string) []netip.AddrPort {
	var all []netip.AddrPort
	for _, text := range texts {
		all = append(all, netip.MustParseAddrPort(text))
	}
	return all
}

func TestFlowsAreStaleWhenTheirAnswersComeFromNoRealServerOfTheirFrontend(t *testing.T) {
	real := newServers(map[frontend.Key][]netip.AddrPort{
		udp("10.1.0.10:30053"):  addrPorts("10.244.1.2:53", "10.244.2.2:53"),
		udp("10.1.0.10:30054"):  nil,
		udp("[fd01::10]:30053"): addrPorts("[fd44:1::2]:53"),
	})
	for _, c := range []struct {
		name, to, answers string
		protocol          frontend.Protocol
		zoned, want       bool
	}{
		{name: "to a pod that serves", to: "10.1.0.10:30053", answers: "10.244.2.2:53"},
		{name: "to a pod that is gone", to: "10.1.0.10:30053", answers: "10.244.2.9:53", want: true},
		{name: "to another port of a pod that serves", to: "10.1.0.10:30053", answers: "10.244.2.2:54", want: true},
		{name: "from before the virtual server", to: "10.1.0.10:30053", answers: "10.1.0.10:30053", want: true},
		{name: "to a frontend without pods", to: "10.1.0.10:30054", answers: "10.244.1.2:53", want: true},
		{name: "the other family, to a pod that serves", to: "[fd01::10]:30053", answers: "[fd44:1::2]:53"},
		{name: "the other family, to a pod that is gone", to: "[fd01::10]:30053", answers: "[fd44:1::9]:53", want: true},
		{name: "the same port of another address", to: "10.1.0.99:30053", answers: "10.1.0.99:30053"},
		{name: "another port", to: "10.1.0.10:53", answers: "10.1.0.10:53"},
		{name: "TCP", to: "10.1.0.10:30053", answers: "10.244.2.9:53", protocol: frontend.TCP},
		{name: "in a zone of its own", to: "10.1.0.10:30053", answers: "10.1.0.10:30053", zoned: true},
	} {
		f := flow{to: udp(c.to), answers: netip.MustParseAddrPort(c.answers), zoned: c.zoned}
		if c.protocol != 0 {
			f.to.Protocol = c.protocol
		}
		if got := real.stale(f); got != c.want {
			t.Errorf("a flow %s is stale: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestADumpIsOfOnePortWhereAllFrontendsOfAFamilyHaveIt(t *testing.T) {
	for _, c := range []struct {
		name string
		keys []frontend.Key
		want []dumpFilter
	}{
		{name: "none"},
		{
			name: "one port on several addresses",
			keys: []frontend.Key{udp("10.1.0.10:30053"), udp("10.2.0.10:30053"), udp("[fd01::10]:30053")},
			want: []dumpFilter{{ipv4: true, port: 30053}, {port: 30053}},
		},
		{
			name: "several ports of one family",
			keys: []frontend.Key{udp("10.1.0.10:30053"), udp("10.1.0.10:30054"), udp("10.1.0.10:30053"), udp("[fd01::10]:30055")},
			want: []dumpFilter{{ipv4: true}, {port: 30055}},
		},
	} {
		real := map[frontend.Key][]netip.AddrPort{}
		for _, key := range c.keys {
			real[key] = nil
		}
		if diff := cmp.Diff(c.want, dumpFilters(real), cmp.AllowUnexported(dumpFilter{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

func TestAnInterruptedDumpIsRepeatedAFewTimes(t *testing.T) {
	interrupted := fmt.Errorf("list: %w", nl.ErrDumpInterrupted)
	broken := errors.New("broken")
	for _, c := range []struct {
		name      string
		lists     []error // one after the other; each has one flow
		delete    error
		deleted   int
		wantLists int
		want      error
	}{
		{name: "whole at once", lists: []error{nil}, deleted: 1, wantLists: 1},
		{name: "whole at the third time", lists: []error{interrupted, interrupted, nil}, deleted: 3, wantLists: 3},
		{name: "never whole", lists: slices.Repeat([]error{interrupted}, 99), deleted: 5, wantLists: 5, want: nl.ErrDumpInterrupted},
		{name: "no list", lists: []error{broken}, wantLists: 1, want: broken},
		{name: "what is interrupted cannot be deleted either", lists: []error{interrupted, nil}, delete: broken, wantLists: 1, want: broken},
	} {
		lists := 0
		deleted, err := deleteAll(
			func() ([]flow, error) { lists++; return make([]flow, 1), c.lists[lists-1] },
			func(flows []flow) (int, error) {
				if c.delete != nil {
					return 0, c.delete
				}
				return len(flows), nil
			},
		)
		if deleted != c.deleted || lists != c.wantLists || !errors.Is(err, c.want) {
			t.Errorf("%s: %d deleted in %d lists, %v; want %d in %d, %v", c.name, deleted, lists, err, c.deleted, c.wantLists, c.want)
		}
	}
}

// message is a conntrack entry as the kernel writes it.
func message(original, reply []byte, more ...*nl.RtAttr) []byte {
	m := (&nl.Nfgenmsg{NfgenFamily: unix.AF_INET}).Serialize()
	m = append(m, nl.NewRtAttr(int(nl.NLA_F_NESTED)|nl.CTA_TUPLE_ORIG, original).Serialize()...)
	m = append(m, nl.NewRtAttr(int(nl.NLA_F_NESTED)|nl.CTA_TUPLE_REPLY, reply).Serialize()...)
	for _, a := range more {
		m = append(m, a.Serialize()...)
	}
	return m
}

// direction is one tuple of an entry.
func direction(src, dst string, more ...*nl.RtAttr) []byte {
	from, to := netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)
	srcKind, dstKind := nl.CTA_IP_V6_SRC, nl.CTA_IP_V6_DST
	if from.Addr().Is4() {
		srcKind, dstKind = nl.CTA_IP_V4_SRC, nl.CTA_IP_V4_DST
	}
	ip := nl.NewRtAttr(int(nl.NLA_F_NESTED)|nl.CTA_TUPLE_IP, nil)
	ip.AddRtAttr(srcKind, from.Addr().AsSlice())
	ip.AddRtAttr(dstKind, to.Addr().AsSlice())
	proto := nl.NewRtAttr(int(nl.NLA_F_NESTED)|nl.CTA_TUPLE_PROTO, nil)
	proto.AddRtAttr(nl.CTA_PROTO_NUM, []byte{17})
	proto.AddRtAttr(nl.CTA_PROTO_SRC_PORT, binary.BigEndian.AppendUint16(nil, from.Port()))
	proto.AddRtAttr(nl.CTA_PROTO_DST_PORT, binary.BigEndian.AppendUint16(nil, to.Port()))
	b := append(ip.Serialize(), proto.Serialize()...)
	for _, a := range more {
		b = append(b, a.Serialize()...)
	}
	return b
}

var (
	theID    = nl.NewRtAttr(nl.CTA_ID, []byte{1, 2, 3, 4})
	request  = direction("10.1.0.2:4711", "10.1.0.10:30053")
	response = direction("10.244.2.2:53", "10.1.0.10:4711")
)

func TestEntriesOfTheKernelAreRead(t *testing.T) {
	plain := flow{to: udp("10.1.0.10:30053"), answers: netip.MustParseAddrPort("10.244.2.2:53"), tuple: request, id: []byte{1, 2, 3, 4}}
	zoned := plain
	zoned.zoned = true
	zone := nl.NewRtAttr(nl.CTA_ZONE, []byte{0, 7})
	tupleZone := nl.NewRtAttr(ctaTupleZone, []byte{0, 7})
	request6 := direction("[fd01::2]:4711", "[fd01::10]:30053")
	for name, c := range map[string]struct {
		message []byte
		want    flow
	}{
		"IPv4": {message(request, response, theID), plain},
		"with attributes that do not matter": {
			message(request, response, nl.NewRtAttr(nl.CTA_STATUS, make([]byte, 4)), nl.NewRtAttr(nl.CTA_LABELS, make([]byte, 5)), theID), plain,
		},
		"IPv6": {
			message(request6, direction("[fd44:2::2]:53", "[fd01::10]:4711"), theID),
			flow{to: udp("[fd01::10]:30053"), answers: netip.MustParseAddrPort("[fd44:2::2]:53"), tuple: request6, id: []byte{1, 2, 3, 4}},
		},
		"in a zone": {message(request, response, zone, theID), zoned},
		"in a zone for its answers": {
			message(request, direction("10.244.2.2:53", "10.1.0.10:4711", tupleZone), theID), zoned,
		},
	} {
		got, ok := decodeFlow(c.message)
		compare := cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{})
		if diff := cmp.Diff(c.want, got, compare, cmp.AllowUnexported(flow{})); !ok || diff != "" {
			t.Errorf("%s: read %v (-want +got):\n%s", name, ok, diff)
		}
	}
}

// A request to delete without a tuple is one to delete everything.
func TestAnEntryWithoutAddressesPortsOrIDIsNone(t *testing.T) {
	whole := message(request, response, theID)
	for name, m := range map[string][]byte{
		"nothing":     nil,
		"no tuple":    message(nil, response, theID),
		"no answers":  message(request, nil, theID),
		"no id":       message(request, response),
		"an id of 0":  message(request, response, nl.NewRtAttr(nl.CTA_ID, nil)),
		"cut":         whole[:len(whole)-5],
		"cut id":      whole[:len(whole)-2],
		"no ports":    message(request[:20], response, theID),
		"length of 0": append(bytes.Clone(whole[:nl.SizeofNfgenmsg]), make([]byte, 40)...),
	} {
		if f, ok := decodeFlow(m); ok {
			t.Errorf("%s: taken for %+v", name, f)
		}
	}
}

func FuzzDecodeFlow(f *testing.F) {
	f.Add(message(request, response, theID))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if flow, ok := decodeFlow(b); ok && (len(flow.tuple) == 0 || flow.to.Port == 0) {
			t.Errorf("an entry without addresses: %+v", flow)
		}
	})
}
