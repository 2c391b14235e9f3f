package sync

import (
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
)

// removable is a kernel with three virtual servers, one of them busy and one not ours.
func removable(t *testing.T) (kernel *ipvsfake.Kernel, ours []frontend.Key) {
	t.Helper()
	table, err := ipvs.ParseTable(`
tcp://10.1.0.10:30080 rr
  10.244.1.2:8080 masq weight 1
udp://10.1.0.10:30053 rr
  10.244.1.3:53 masq weight 1
tcp://10.1.0.10:31000 rr
  10.9.0.1:80 masq weight 1
`)
	if err != nil {
		t.Fatal(err)
	}
	kernel = ipvsfake.New(ipvsfake.WithTable(table))
	kernel.SetConnections(tcp("10.1.0.10", 30080), netip.MustParseAddrPort("10.244.1.2:8080"), ipvs.Connections{Active: 1})
	udp := frontend.NewKey(netip.MustParseAddr("10.1.0.10"), frontend.UDP, 30053)
	return kernel, []frontend.Key{tcp("10.1.0.10", 30080), udp, tcp("10.1.0.10", 30099)}
}

func TestRemoveDeletesWhatItIsGivenAndNothingElse(t *testing.T) {
	kernel, ours := removable(t)
	n, err := Remove(t.Context(), kernel, ours, RemoveOptions{Timeout: time.Hour})
	if n != 2 || err != nil {
		t.Errorf("removed %d, %v, want 2", n, err)
	}
	if left := brief(kernel.Table()); !slices.Equal(left, []string{"tcp://10.1.0.10:31000 rr 10.9.0.1:80*1"}) {
		t.Errorf("left: %v", left)
	}
}

func TestRemoveWaitsForConnectionsIfAskedTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kernel, ours := removable(t)
		var told []int
		done := make(chan int, 1)
		go func() {
			n, err := Remove(t.Context(), kernel, ours, RemoveOptions{
				Drain: true, Timeout: time.Hour, Progress: func(left int) { told = append(told, left) },
			})
			if err != nil {
				t.Error(err)
			}
			done <- n
		}()
		time.Sleep(10 * time.Minute)
		if e, there := kernel.Table()[ours[0]]; !there || e.Reals[netip.MustParseAddrPort("10.244.1.2:8080")].Weight != 0 {
			t.Errorf("the busy virtual server is %v, want weight 0", e)
		}
		kernel.SetConnections(ours[0], netip.MustParseAddrPort("10.244.1.2:8080"), ipvs.Connections{})
		if n := <-done; n != 2 || !slices.Equal(told, []int{1}) {
			t.Errorf("removed %d, told %v, want 2 and [1]", n, told)
		}
	})
}

func TestRemoveDoesNotWaitWhereThereIsNoConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kernel, ours := removable(t)
		kernel.SetConnections(ours[0], netip.MustParseAddrPort("10.244.1.2:8080"), ipvs.Connections{})
		begin := time.Now()
		n, err := Remove(t.Context(), kernel, ours, RemoveOptions{Drain: true, Timeout: time.Hour})
		if took := time.Since(begin); err != nil || n != 2 || took >= settle {
			t.Errorf("removed %d after %s, error %v", n, took, err)
		}
	})
}

func TestRemoveGivesUpWaitingAtTheTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kernel, ours := removable(t)
		begin := time.Now()
		n, err := Remove(t.Context(), kernel, ours, RemoveOptions{Drain: true, Timeout: time.Minute})
		if took := time.Since(begin); n != 2 || err != nil || took < time.Minute || took > 2*time.Minute {
			t.Errorf("removed %d after %s, %v, want 2 after a minute", n, took, err)
		}
	})
}

// A drain takes minutes, and what was read again is known.
func TestRemoveGivesUpOnTriesInARowAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := ipvs.Table{}
		var ours []frontend.Key
		var lost []ipvsfake.Fault
		real := netip.MustParseAddrPort("10.244.1.2:8080")
		for port := range uint16(maxRounds + 2) {
			key := tcp("10.1.0.10", 30080+port)
			ours = append(ours, key)
			table[key] = ipvs.Entry{VirtualServer: ipvs.VirtualServer{Scheduler: "rr"}, Reals: map[netip.AddrPort]ipvs.RealServer{real: {Weight: 1}}}
			lost = append(lost, ipvsfake.Fault{Verb: ipvs.DelVirtual, Key: key, Err: ipvs.ErrUnknown})
		}
		kernel := ipvsfake.New(ipvsfake.WithTable(table))
		for i, key := range ours { // they end one after the other
			kernel.SetConnections(key, real, ipvs.Connections{Active: 1})
			time.AfterFunc(time.Duration(i+1)*time.Minute, func() { kernel.SetConnections(key, real, ipvs.Connections{}) })
		}
		n, err := Remove(t.Context(), ipvsfake.Faulty(kernel, ipvsfake.Faults{Once: lost}), ours, RemoveOptions{Drain: true, Timeout: time.Hour})
		if n != len(ours) || err != nil || len(kernel.Table()) > 0 {
			t.Errorf("removed %d of %d, %v; left are %v", n, len(ours), err, brief(kernel.Table()))
		}
	})
}
