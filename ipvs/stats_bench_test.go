package ipvs

import (
	"bytes"
	"fmt"
	"io"
	"net/netip"
	"testing"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// benchVirtuals and benchReals are 2,700 Services on two addresses with 10 endpoints each.
const (
	benchVirtuals = 5400
	benchReals    = 10
)

// recordDump is a dump of benchVirtuals as Linux 6.1 answers it, in pieces of at most 32 KiB.
func recordDump() *recorded {
	r := &recorded{}
	var piece []byte
	for n := range benchVirtuals {
		key := frontend.NewKey(netip.AddrFrom4([4]byte{10, 1, 0, byte(10 + n%2)}), frontend.TCP, uint16(30000+n/2))
		b := answer(0x21, 5, virtualMessage(virtualAttrs(key, someCounters)...).payload)
		if len(piece)+len(b) > 32<<10 {
			r.answers = append(r.answers, piece)
			piece = nil
		}
		piece = append(piece, b...)
	}
	r.answers = append(r.answers, append(piece, done(5)...))
	return r
}

// recordProc is /proc/net/ip_vs for the same.
func recordProc(six bool) []byte {
	var b bytes.Buffer
	b.WriteString(procHeader)
	virtual, real := "TCP  0A01%04X:%04X rr \n", "  -> 0AF4%04X:1F90      Masq    1      %-10d %-10d\n"
	if six {
		virtual = "TCP  [fd01:0000:0000:0000:0000:0000:0000:%04x]:%04X rr \n"
		real = "  -> [fd02:0000:0000:0000:0000:0000:0000:%04x]:1F90      Masq    1      %-10d %-10d\n"
	}
	for n := range benchVirtuals {
		fmt.Fprintf(&b, virtual, 10+n%2, 30000+n/2)
		for i := range benchReals {
			fmt.Fprintf(&b, real, n/2*benchReals+i, 12, 345)
		}
	}
	return b.Bytes()
}

func BenchmarkVirtuals(b *testing.B) {
	r := recordDump()
	b.ReportAllocs()
	for b.Loop() {
		all := make(map[frontend.Key]Counters, benchVirtuals)
		w := r.writer()
		if err := w.dumpVirtualStats(b.Context(), func(k frontend.Key, c Counters) { all[k] = c }); err != nil || len(all) != benchVirtuals {
			b.Fatal(len(all), err)
		}
	}
	b.ReportMetric(float64(len(r.answers)), "answers")
}

// BenchmarkAuditedVirtuals is our part of Handle.Virtuals.
func BenchmarkAuditedVirtuals(b *testing.B) {
	r := recordDump()
	b.ReportAllocs()
	for b.Loop() {
		all := make(map[frontend.Key]VirtualServer, benchVirtuals)
		w := r.writer()
		if err := w.dumpVirtuals(b.Context(), func(k frontend.Key, v VirtualServer) { all[k] = v }); err != nil || len(all) != benchVirtuals {
			b.Fatal(len(all), err)
		}
	}
}

// BenchmarkSameReals is our part of Handle.SameReals for benchVirtuals, one after the other.
func BenchmarkSameReals(b *testing.B) {
	var piece []byte
	reals := map[netip.AddrPort]RealServer{}
	for i := range benchReals {
		addr := netip.AddrFrom4([4]byte{10, 244, 1, byte(i)})
		attr := wire(u16s(20, destAttrAddr), addr.AsSlice(), "000000000000000000000000")
		m := destMessage(destAttrs(attr, narrowStats(someCounters), wideStats(someCounters))...)
		piece = append(piece, answer(0x21, 5, m.payload)...)
		reals[netip.AddrPortFrom(addr, 8080)] = RealServer{Forwarding: Route, Weight: 70000, UpperThreshold: 20, LowerThreshold: 10}
	}
	r := &recorded{answers: [][]byte{piece, done(5)}}
	w, key := r.writer(), mustKey("tcp://10.1.0.10:30080")
	b.ReportAllocs()
	for b.Loop() {
		for range benchVirtuals {
			w.seq = 5
			if same, err := w.sameReals(b.Context(), key, reals, nil); !same || err != nil {
				b.Fatal(same, err)
			}
		}
	}
}

func BenchmarkUse(b *testing.B) {
	for name, six := range map[string]bool{"IPv4": false, "IPv6": true} {
		text := recordProc(six)
		b.Run(name, func(b *testing.B) { parseAll(b, text) })
	}
}

func parseAll(b *testing.B, text []byte) {
	b.Helper()
	b.ReportAllocs()
	for b.Loop() {
		table, err := parseProc(io.Reader(bytes.NewReader(text)), procUse)
		if err != nil || len(table) != benchVirtuals {
			b.Fatal(len(table), err)
		}
	}
	b.ReportMetric(float64(len(text)), "bytes")
}
