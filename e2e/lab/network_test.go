package lab

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTheForwardedPortIsFoundAmongTheSocketsOfTheProcess(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	at, err := listeningOn("/proc/self")
	if err != nil {
		t.Fatal(err)
	}
	if want := netip.MustParseAddrPort(l.Addr().String()); at != want {
		t.Errorf("%v, want %v", at, want)
	}
	l.Close()
	if at, err := listeningOn("/proc/self"); err == nil {
		t.Errorf("%v after its listener was closed", at)
	}
}

func TestOnlyListenersOfTheTableCount(t *testing.T) {
	const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:8235 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1234 1 0000000000000000 100 0 0 10 0
   1: 0100007F:8235 0100007F:CAFE 01 00000000:00000000 00:00000000 00000000     0        0 1235 1 0000000000000000 20 4 30 10 -1
`
	want := map[string]string{"socket:[1234]": "127.0.0.1:33333"}
	got := map[string]string{}
	for name, at := range tcpListeners(table) {
		got[name] = at.String()
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestAGuestHasNoNetworkUnlessAskedFor(t *testing.T) {
	with := func(n *Network) string { return strings.Join((&Guest{Memory: "1G", Network: n}).qemuArgs(), " ") }
	if args := with(nil); strings.Contains(args, "net") {
		t.Error(args)
	}
	if args := with(&Network{}); !strings.Contains(args, "-device virtio-net-pci") || strings.Contains(args, "hostfwd") {
		t.Error(args)
	}
	if args := with(&Network{Forward: 80}); !strings.Contains(args, "hostfwd=tcp:127.0.0.1:0-10.0.2.15:80 ") {
		t.Error(args)
	}
}

func TestAGuestHasOneProcessorUnlessMoreAreAskedFor(t *testing.T) {
	for cpus, want := range map[int]string{0: "-smp 1 ", 1: "-smp 1 ", 2: "-smp 2 "} {
		if args := strings.Join((&Guest{Memory: "1G", CPUs: cpus}).qemuArgs(), " "); !strings.Contains(args, want) {
			t.Errorf("%d: %s", cpus, args)
		}
	}
}

func TestAStepForTheNetworkNeverRunsWhereThereIsNone(t *testing.T) {
	job := Job{Steps: []Step{{Name: "here", Args: []string{"true"}, Network: true}}}
	for where, r := range map[string]runner{"host": &Host{}, "guest": &Guest{}} {
		if _, err := r.Run(t.Context(), job, nil); err == nil || !strings.Contains(err.Error(), "step here needs") {
			t.Errorf("%s: %v", where, err)
		}
	}
}
