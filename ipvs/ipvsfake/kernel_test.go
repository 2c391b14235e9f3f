package ipvsfake_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
)

const start = `tcp://10.1.0.10:80 rr
  10.244.1.2:80 masq weight 1
tcp://[fd01::10]:80 rr
  [fd02::2]:80 masq weight 1
`

func startTable(t *testing.T) ipvs.Table {
	t.Helper()
	table, err := ipvs.ParseTable(start)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func key(s string) frontend.Key {
	addrPort := netip.MustParseAddrPort(s)
	return frontend.NewKey(addrPort.Addr(), frontend.TCP, addrPort.Port())
}

func one(t *testing.T, h ipvs.Handle, op ipvs.Op) error {
	t.Helper()
	return h.Do(t.Context(), []ipvs.Op{op})[0]
}

// What the table in the comment of do says, cell by cell, and what stands in no cell.
func TestKernelAnswersWithTheErrnosOfLinux(t *testing.T) {
	v4, v6, absent := key("10.1.0.10:80"), key("[fd01::10]:80"), key("10.1.0.11:80")
	there, gone := netip.MustParseAddrPort("10.244.1.2:80"), netip.MustParseAddrPort("10.244.1.3:80")
	rr, odd := ipvs.VirtualServer{Scheduler: "rr"}, ipvs.VirtualServer{Scheduler: "rr", Flags: ipvs.Persistent, PersistencePrefix: 129}
	icmp := frontend.Key{Addr: netip.IPv4Unspecified(), Protocol: 1}
	real := func(verb ipvs.Verb, k frontend.Key, addr string, r ipvs.RealServer) ipvs.Op {
		return ipvs.Op{Verb: verb, Key: k, RealKey: netip.MustParseAddrPort(addr), Real: r}
	}
	for _, test := range []struct {
		name string
		op   ipvs.Op
		want error
	}{
		{"add a virtual server", ipvs.Op{Verb: ipvs.AddVirtual, Key: absent, Virtual: rr}, nil},
		{"add one that exists", ipvs.Op{Verb: ipvs.AddVirtual, Key: v4, Virtual: ipvs.VirtualServer{Scheduler: "wrr"}}, syscall.EEXIST},
		{"add one that exists with an unknown scheduler", ipvs.Op{Verb: ipvs.AddVirtual, Key: v4}, syscall.EEXIST},
		{"add one with an unknown scheduler", ipvs.Op{Verb: ipvs.AddVirtual, Key: absent, Virtual: ipvs.VirtualServer{Scheduler: "nope"}}, syscall.ENOENT},
		{"add one with an empty scheduler", ipvs.Op{Verb: ipvs.AddVirtual, Key: absent}, syscall.ENOENT},
		{"add one without scheduling", ipvs.Op{Verb: ipvs.AddVirtual, Key: absent, Virtual: ipvs.VirtualServer{Scheduler: "none"}}, nil},
		{"add one for ICMP, port 0 and no address", ipvs.Op{Verb: ipvs.AddVirtual, Key: icmp, Virtual: rr}, nil},
		{"add one with an impossible prefix", ipvs.Op{Verb: ipvs.AddVirtual, Key: key("[fd01::11]:80"), Virtual: odd}, syscall.EINVAL},
		{"set a virtual server", ipvs.Op{Verb: ipvs.SetVirtual, Key: v4, Virtual: ipvs.VirtualServer{Scheduler: "wrr"}}, nil},
		{"set one that is missing", ipvs.Op{Verb: ipvs.SetVirtual, Key: absent, Virtual: rr}, syscall.ESRCH},
		{"set an unknown scheduler", ipvs.Op{Verb: ipvs.SetVirtual, Key: v4}, syscall.ENOENT},
		{"set an impossible prefix", ipvs.Op{Verb: ipvs.SetVirtual, Key: v6, Virtual: odd}, syscall.EINVAL},
		{"delete a virtual server", ipvs.Op{Verb: ipvs.DelVirtual, Key: v4}, nil},
		{"delete one that is missing", ipvs.Op{Verb: ipvs.DelVirtual, Key: absent}, syscall.ESRCH},
		{"add a real server", ipvs.Op{Verb: ipvs.AddReal, Key: v4, RealKey: gone}, nil},
		{"add one with port 0", real(ipvs.AddReal, v4, "10.244.1.3:0", ipvs.RealServer{}), nil},
		{"add one without its virtual server", ipvs.Op{Verb: ipvs.AddReal, Key: absent, RealKey: gone}, syscall.ESRCH},
		{"add one that exists", ipvs.Op{Verb: ipvs.AddReal, Key: v4, RealKey: there, Real: ipvs.RealServer{Weight: 9}}, syscall.EEXIST},
		{"add a weight of 32 bits", real(ipvs.AddReal, v4, "10.244.1.3:80", ipvs.RealServer{Weight: 1 << 31}), syscall.ERANGE},
		{"add reversed thresholds", real(ipvs.AddReal, v4, "10.244.1.3:80", ipvs.RealServer{LowerThreshold: 1}), syscall.ERANGE},
		{"add the other family", real(ipvs.AddReal, v4, "[fd02::2]:80", ipvs.RealServer{}), syscall.EINVAL},
		{"add the other family by tunnel", real(ipvs.AddReal, v4, "[fd02::2]:80", ipvs.RealServer{Forwarding: ipvs.Tunnel}), nil},
		{"add a multicast address", real(ipvs.AddReal, v4, "224.0.0.1:80", ipvs.RealServer{}), syscall.EINVAL},
		{"add the broadcast address", real(ipvs.AddReal, v4, "255.255.255.255:80", ipvs.RealServer{}), syscall.EINVAL},
		{"add the zero address", real(ipvs.AddReal, v4, "0.0.0.0:80", ipvs.RealServer{}), syscall.EINVAL},
		{"add an IPv4 link-local address", real(ipvs.AddReal, v4, "169.254.0.1:80", ipvs.RealServer{}), nil},
		{"add an IPv6 link-local address", real(ipvs.AddReal, v6, "[fe80::1]:80", ipvs.RealServer{}), syscall.EINVAL},
		{"add an IPv6 multicast address", real(ipvs.AddReal, v6, "[ff02::1]:80", ipvs.RealServer{}), syscall.EINVAL},
		{"add an IPv4-mapped address", real(ipvs.AddReal, v6, "[::ffff:10.244.1.2]:80", ipvs.RealServer{}), syscall.EINVAL},
		{"set a real server", ipvs.Op{Verb: ipvs.SetReal, Key: v4, RealKey: there, Real: ipvs.RealServer{Weight: 70000, Forwarding: ipvs.Route}}, nil},
		{"set one without its virtual server", ipvs.Op{Verb: ipvs.SetReal, Key: absent, RealKey: there}, syscall.ESRCH},
		{"set one that is missing", ipvs.Op{Verb: ipvs.SetReal, Key: v4, RealKey: gone}, syscall.ENOENT},
		{"set reversed thresholds", real(ipvs.SetReal, v4, "10.244.1.2:80", ipvs.RealServer{UpperThreshold: 1, LowerThreshold: 2}), syscall.ERANGE},
		{"set the other family", real(ipvs.SetReal, v4, "[fd02::2]:80", ipvs.RealServer{}), syscall.EINVAL},
		{"delete a real server", ipvs.Op{Verb: ipvs.DelReal, Key: v4, RealKey: there}, nil},
		{"delete one without its virtual server", ipvs.Op{Verb: ipvs.DelReal, Key: absent, RealKey: there}, syscall.ESRCH},
		{"delete one that is missing", ipvs.Op{Verb: ipvs.DelReal, Key: v4, RealKey: gone}, syscall.ENOENT},
		{"a verb of another world", ipvs.Op{Verb: 99, Key: v4}, syscall.EOPNOTSUPP},
	} {
		t.Run(test.name, func(t *testing.T) {
			kernel := ipvsfake.New(ipvsfake.WithTable(startTable(t)))
			err := one(t, kernel, test.op)
			if !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			var opErr *ipvs.OpError
			if err != nil && (!errors.As(err, &opErr) || opErr.Op != test.op) {
				t.Errorf("error %v does not carry its operation", err)
			}
			if changed := kernel.String() != start; changed != (err == nil) {
				t.Errorf("error %v, and the table is now\n%s", err, kernel)
			}
			if kernel.Writes() != 1 {
				t.Errorf("%d writes counted", kernel.Writes())
			}
		})
	}
}

func TestKernelKeepsRealServersOverASetAndForgetsThemWithTheirVirtualServer(t *testing.T) {
	kernel := ipvsfake.New(ipvsfake.WithTable(startTable(t)))
	k := key("10.1.0.10:80")
	for _, step := range []struct {
		op   ipvs.Op
		want string
	}{
		{ipvs.Op{Verb: ipvs.SetVirtual, Key: k, Virtual: ipvs.VirtualServer{Scheduler: "wrr"}}, "tcp://10.1.0.10:80 wrr\n  10.244.1.2:80 masq weight 1\n"},
		{ipvs.Op{Verb: ipvs.DelVirtual, Key: k}, ""},
		{ipvs.Op{Verb: ipvs.AddVirtual, Key: k, Virtual: ipvs.VirtualServer{Scheduler: "rr"}}, "tcp://10.1.0.10:80 rr\n"},
	} {
		if err := one(t, kernel, step.op); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(step.want, kernel.Table().Only([]frontend.Key{k}).String()); diff != "" {
			t.Fatalf("after %s (-want +got):\n%s", step.op, diff)
		}
	}
}

func TestKernelHidesItsOwnFlagAndAPrefixOfTheWholeAddress(t *testing.T) {
	kernel := ipvsfake.New()
	k := key("10.1.0.10:80")
	odd := ipvs.VirtualServer{Scheduler: "rr", Flags: ipvs.Persistent | 0x2, PersistenceTimeout: 5, PersistencePrefix: 32}
	if err := one(t, kernel, ipvs.Op{Verb: ipvs.AddVirtual, Key: k, Virtual: odd}); err != nil {
		t.Fatal(err)
	}
	if got, want := kernel.String(), "tcp://10.1.0.10:80 rr persistent 5s\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestARealServerThatComesBackHasItsConnectionsAgain(t *testing.T) {
	kernel := ipvsfake.New(ipvsfake.WithTable(startTable(t)))
	k, addr := key("10.1.0.10:80"), netip.MustParseAddrPort("10.244.1.2:80")
	want := ipvs.Connections{Active: 3, Inactive: 1}
	kernel.SetConnections(k, addr, want)
	for _, verbs := range [][]ipvs.Verb{{}, {ipvs.DelReal, ipvs.AddReal}, {ipvs.DelVirtual, ipvs.AddVirtual, ipvs.AddReal}} {
		for _, verb := range verbs {
			op := ipvs.Op{Verb: verb, Key: k, RealKey: addr, Virtual: ipvs.VirtualServer{Scheduler: "rr"}}
			if err := one(t, kernel, op); err != nil {
				t.Fatal(err)
			}
		}
		_, connections, err := kernel.Get(t.Context(), k)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(map[string]ipvs.Connections{addr.String(): want}, byName(connections)); diff != "" {
			t.Errorf("after %v (-want +got):\n%s", verbs, diff)
		}
	}
}

func byName(c map[netip.AddrPort]ipvs.Connections) map[string]ipvs.Connections {
	named := map[string]ipvs.Connections{}
	for addr, n := range c {
		named[addr.String()] = n
	}
	return named
}

func TestKernelGivesCopies(t *testing.T) {
	table := startTable(t)
	kernel := ipvsfake.New(ipvsfake.WithTable(table))
	k := key("10.1.0.10:80")
	listed, err := kernel.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got, _, err := kernel.Get(t.Context(), k)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range []ipvs.Entry{table[k], listed[k], got, kernel.Table()[k]} {
		clear(e.Reals)
	}
	clear(listed)
	clear(table)
	if diff := cmp.Diff(start, kernel.String()); diff != "" {
		t.Errorf("a caller changed the kernel (-want +got):\n%s", diff)
	}
}

func TestTimeoutsKeepWhatIsZero(t *testing.T) {
	kernel := ipvsfake.New()
	if err := kernel.SetTimeouts(t.Context(), ipvs.Timeouts{UDP: 30 * time.Second}); err != nil {
		t.Fatal(err)
	}
	got, err := kernel.Timeouts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := ipvs.Timeouts{TCP: 900 * time.Second, TCPFin: 120 * time.Second, UDP: 30 * time.Second}
	if got != want {
		t.Errorf("got %v, want %v", got, want)
	}
	for _, odd := range []time.Duration{-time.Second, 1500 * time.Millisecond} {
		if err := kernel.SetTimeouts(t.Context(), ipvs.Timeouts{TCP: odd}); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("%s: got %v", odd, err)
		}
	}
	if kernel.Writes() != 3 {
		t.Errorf("%d writes counted", kernel.Writes())
	}
}

func TestProbeKnowsTheSchedulersAndWritesNothing(t *testing.T) {
	kernel := ipvsfake.New(ipvsfake.WithSchedulers("rr"))
	for name, known := range map[string]bool{"rr": true, "none": true, "wrr": false, "": false} {
		err := kernel.ProbeScheduler(t.Context(), name)
		if known && err != nil || !known && !ipvs.IsUnknownScheduler(err) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if kernel.Writes() != 0 || kernel.String() != "" {
		t.Errorf("%d writes, table %q", kernel.Writes(), kernel)
	}
}

func TestClosedAndCancelledHandlesDoNothingAndTheTableOutlivesThem(t *testing.T) {
	kernel := ipvsfake.New(ipvsfake.WithTable(startTable(t)))
	next := kernel.Open()
	if err := kernel.Close(); err != nil {
		t.Fatal(err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	fails := func(h ipvs.Handle, ctx context.Context) {
		t.Helper()
		_, listErr := h.List(ctx)
		_, _, getErr := h.Get(ctx, key("10.1.0.10:80"))
		_, timeoutsErr := h.Timeouts(ctx)
		doErr := h.Do(ctx, []ipvs.Op{{Verb: ipvs.DelVirtual, Key: key("10.1.0.10:80")}})[0]
		for call, err := range map[string]error{
			"List": listErr, "Get": getErr, "Timeouts": timeoutsErr, "Do": doErr,
			"SetTimeouts": h.SetTimeouts(ctx, ipvs.Timeouts{}), "ProbeScheduler": h.ProbeScheduler(ctx, "rr"),
		} {
			if err == nil || ipvs.IsGone(err) {
				t.Errorf("%s: %v", call, err)
			}
		}
	}
	fails(kernel, t.Context())
	fails(next, cancelled)
	if err := kernel.Close(); err == nil {
		t.Error("closed twice")
	}
	table, err := next.List(t.Context())
	if err != nil || table.String() != start || next.Writes() != 0 {
		t.Errorf("a handle opened anew has %v, %d writes, table\n%s", err, next.Writes(), table)
	}
}

func ExampleKernel() {
	kernel := ipvsfake.New()
	key := frontend.NewKey(netip.MustParseAddr("10.1.0.10"), frontend.TCP, 30080)
	want := ipvs.Table{key: {
		VirtualServer: ipvs.VirtualServer{Scheduler: "rr"},
		Reals:         map[netip.AddrPort]ipvs.RealServer{netip.MustParseAddrPort("10.244.1.2:8080"): {Weight: 1}},
	}}
	ipvs.Apply(context.Background(), kernel, ipvs.Diff(nil, want))
	fmt.Print(kernel)
	// Output:
	// tcp://10.1.0.10:30080 rr
	//   10.244.1.2:8080 masq weight 1
}

func TestAModuleThatWasAwayIsBackWithNothing(t *testing.T) {
	key := frontend.NewKey(netip.MustParseAddr("10.1.0.10"), frontend.TCP, 30080)
	k := ipvsfake.New()
	boot, err := k.Timeouts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	mustDo := func(want error) {
		t.Helper()
		if err := k.Do(t.Context(), []ipvs.Op{{Verb: ipvs.AddVirtual, Key: key, Virtual: ipvs.VirtualServer{Scheduler: "rr"}}})[0]; !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
	}
	mustDo(nil)
	if err := k.SetTimeouts(t.Context(), ipvs.Timeouts{TCP: time.Hour}); err != nil {
		t.Fatal(err)
	}
	k.Unload()
	mustDo(ipvs.ErrNoIPVS)
	if _, err := k.Virtuals(t.Context()); !errors.Is(err, ipvs.ErrNoIPVS) {
		t.Errorf("%v, want %v", err, ipvs.ErrNoIPVS)
	}
	k.Load()
	if got, err := k.Timeouts(t.Context()); err != nil || got != boot || len(k.Table()) != 0 {
		t.Errorf("timeouts %v, table %v, %v, want what a boot leaves", got, k, err)
	}
	mustDo(nil)
}
