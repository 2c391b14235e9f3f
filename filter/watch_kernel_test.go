//go:build kernel

package filter

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// watched is a table with its subscription, whose events are read by drain alone.
func watched(t *testing.T) (table *Table, drain func() bool) {
	t.Helper()
	table = newKernelTable(t)
	socket, err := nl.Subscribe(unix.NETLINK_NETFILTER, unix.NFNLGRP_NFTABLES)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(socket.Close)
	// As Watch has it: the events of a few transactions of ours fill the usual one, and to follow an overrun takes a socket that waits.
	if err := socket.SetReceiveBufferSize(receiveBuffer, true); err != nil {
		t.Fatal(err)
	}
	if !table.own.begin() {
		t.Fatal("watched already")
	}
	// The kernel has queued the events of a transaction before nft ends, so all are there when nothing comes any more. A deadline that has
	// passed before the first try gives nothing, whatever is queued: on a slow processor a millisecond does.
	if err := socket.SetReceiveTimeout(&unix.Timeval{Usec: 100_000}); err != nil {
		t.Fatal(err)
	}
	changed := make(chan struct{}, 1)
	return table, func() bool {
		t.Helper()
		table.follow(socket, changed)
		select {
		case <-changed:
			return true
		default:
			return false
		}
	}
}

func TestOnlyWhatOthersDoToOurTableIsAChange(t *testing.T) {
	table, drain := watched(t)
	ctx := t.Context()
	nft(t, "add table ip kube-ipvs; add table inet other { set s { type inet_service; }; }")
	tests := []struct {
		name string
		do   func() error
		want bool
	}{
		{"our own Replace", func() error { return table.Replace(ctx, manyRules(40)) }, false},
		{"our own Apply", func() error { return table.Apply(ctx, Diff(manyRules(40), manyRules(20))) }, false},
		{"our own Apply of what is there", func() error { return table.Apply(ctx, Diff(Rules{}, manyRules(20))) }, false},
		{"our own Ensure", func() error { _, err := table.Ensure(ctx); return err }, false},
		{"a read by anybody", func() error { nft(t, "list ruleset"); return nil }, false},
		{"another table", func() error { nft(t, "add element inet other s { 80 }"); return nil }, false},
		{"a table of our name in another family", func() error { nft(t, "delete table ip kube-ipvs"); return nil }, false},
		{"an element by somebody", func() error { nft(t, "add element inet kube-ipvs owned-ipv4 { 10.9.9.9 . tcp . 1 }"); return nil }, true},
		{"our own Apply after that", func() error { return table.Apply(ctx, Diff(manyRules(20), manyRules(10))) }, false},
		{"our chain flushed", func() error { nft(t, "flush chain inet kube-ipvs postrouting"); return nil }, true},
		{"our own Ensure that mends it", func() error { _, err := table.Ensure(ctx); return err }, false},
		{"our table deleted", func() error { nft(t, "delete table inet kube-ipvs"); return nil }, true},
		{"our own Remove of what is gone", func() error { return table.Remove(ctx) }, false},
		{"our own Ensure that makes it", func() error { _, err := table.Ensure(ctx); return err }, false},
		{"our own Replace and then another table", func() error {
			defer nft(t, "add element inet other s { 81 }")
			return table.Replace(ctx, manyRules(4))
		}, false},
		{"everything flushed", func() error { nft(t, "flush ruleset"); return nil }, true},
		{"several of ours and one of others", func() error {
			for n := range 3 {
				if err := table.Replace(ctx, manyRules(n)); err != nil {
					return err
				}
			}
			nft(t, "flush set inet kube-ipvs owned-ipv4")
			return table.Replace(ctx, manyRules(5))
		}, true},
	}
	for _, test := range tests {
		if err := test.do(); err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		if got := drain(); got != test.want {
			t.Errorf("%s: change %v, want %v", test.name, got, test.want)
		}
	}
	if len(table.own.ours) != 0 {
		t.Errorf("generations still remembered: %v", table.own.ours)
	}
}

func TestAChangeBesideOurTransactionIsNotTakenForOurs(t *testing.T) {
	table, drain := watched(t)
	err := table.own.during(func() error {
		nft(t, "flush chain inet kube-ipvs postrouting")
		nft(t, "add element inet kube-ipvs owned-ipv4 { 10.9.9.9 . tcp . 1 }")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if !drain() {
		t.Error("no change, want one")
	}
}

func TestAForeignFlushIsNoticedWithinASecond(t *testing.T) {
	table := newKernelTable(t)
	ctx, cancel := context.WithCancel(t.Context())
	changed, err := table.Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := table.Watch(ctx); err == nil || !strings.Contains(err.Error(), "already") {
		t.Errorf("a second watch: %v, want it refused", err)
	}
	for range 3 {
		if err := table.Replace(ctx, manyRules(100)); err != nil {
			t.Fatal(err)
		}
		nft(t, "flush ruleset")
		wait(t, changed, time.Now())
	}
	cancel()
	select {
	case _, open := <-changed:
		if open {
			t.Error("a change after the end")
		}
	case <-time.After(10 * time.Second):
		t.Error("the channel is not closed after the end")
	}
	again, err := table.Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	nft(t, "add table inet kube-ipvs")
	wait(t, again, time.Now())
}

// wait waits for a change for a second.
func wait(t *testing.T, changed <-chan struct{}, since time.Time) {
	t.Helper()
	select {
	case _, open := <-changed:
		t.Logf("noticed %v after nft had ended", time.Since(since).Round(time.Microsecond))
		if !open {
			t.Fatal("the watch has ended")
		}
	case <-time.After(time.Until(since.Add(time.Second))):
		t.Error("no change within a second")
	}
}

func TestLostEventsAreAChangeAndTheWatchGoesOn(t *testing.T) {
	table := newKernelTable(t)
	socket, err := nl.Subscribe(unix.NETLINK_NETFILTER, unix.NFNLGRP_NFTABLES)
	if err != nil {
		t.Fatal(err)
	}
	if err := socket.SetReceiveBufferSize(1, false); err != nil { // the kernel makes it its minimum
		t.Fatal(err)
	}
	// Our own write does not fit into the buffer, so what we are not told may have been anything.
	if err := table.Replace(t.Context(), manyRules(1000)); err != nil {
		t.Fatal(err)
	}
	changed, done := make(chan struct{}, 1), make(chan struct{})
	go func() {
		defer close(done)
		table.follow(socket, changed)
	}()
	wait(t, changed, time.Now())
	for port := range uint16(4) { // the overrun is signalled twice at most, the rest has to be seen
		key := frontend.NewKey(netip.MustParseAddr("10.9.9.9"), frontend.TCP, port+1)
		nft(t, "add element inet kube-ipvs owned-ipv4 { "+strings.Join(ownedSet(key.Addr.Is4()).element(key).Key, " . ")+" }")
		wait(t, changed, time.Now())
	}
	socket.Close()
	<-done
}

// A socket may fail under us; what was changed until there is another one is a change too.
func TestAWatchWhoseSocketFailsGoesOnWithAnother(t *testing.T) {
	table := newKernelTable(t)
	if !table.own.begin() {
		t.Fatal("watched already")
	}
	place, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	defer place.Close()
	sockets := make(chan *nl.NetlinkSocket, 2)
	subscribe := func() (*nl.NetlinkSocket, error) {
		socket, err := subscribeIn(place)
		sockets <- socket
		return socket, err
	}
	first, err := subscribe()
	if err != nil {
		t.Fatal(err)
	}
	<-sockets
	ctx, cancel := context.WithCancel(t.Context())
	changed, done := make(chan struct{}, 1), make(chan struct{})
	go func() { // on a thread of another network namespace
		defer close(done)
		table.watch(ctx, first, subscribe, changed)
	}()
	nft(t, "delete table inet kube-ipvs")
	wait(t, changed, time.Now())
	first.Close()
	select {
	case <-sockets:
	case <-time.After(5 * time.Second):
		t.Fatal("there is no other subscription")
	}
	wait(t, changed, time.Now()) // whatever happened meanwhile
	nft(t, "add table inet kube-ipvs")
	wait(t, changed, time.Now())
	cancel()
	<-done
}
