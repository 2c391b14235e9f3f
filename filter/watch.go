package filter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"syscall"
	"time"

	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// receiveBuffer holds what other programs write to other tables while we are busy: about 30,000 elements.
const receiveBuffer = 4 << 20

// A subscription that failed is made anew after firstPause, and each time later up to lastPause.
const (
	firstPause = time.Second
	lastPause  = 30 * time.Second
)

// Watch gives a channel that has a value waiting whenever somebody else has changed our table in the network namespace of
// the calling thread, or may have (the kernel's messages were lost). It is told within milliseconds, never of our own
// writes nor of other tables, and not what was changed: Read that. Values that are not taken are not repeated.
//
// The channel is closed when ctx ends. A subscription that fails later is made anew, and until then there are the periodic audits.
// A table has one watch at a time.
func (t *Table) Watch(ctx context.Context) (<-chan struct{}, error) {
	if !t.own.begin() {
		return nil, errors.New("nftables: changes are watched already")
	}
	place, err := netns.Get()
	if err != nil {
		t.own.end()
		return nil, fmt.Errorf("nftables: the network namespace of changes: %w", err)
	}
	subscribe := func() (*nl.NetlinkSocket, error) { return subscribeIn(place) }
	socket, err := subscribe()
	if err != nil {
		t.own.end()
		return nil, errors.Join(err, place.Close())
	}
	changed := make(chan struct{}, 1)
	go func() {
		defer close(changed)
		defer t.own.end()
		defer place.Close()
		t.watch(ctx, socket, subscribe, changed)
	}()
	return changed, nil
}

// subscribeIn subscribes to the changes of a network namespace. To enter another one takes a privilege that the agent has not, and
// does not need: its threads are all in one.
func subscribeIn(place netns.NsHandle) (*nl.NetlinkSocket, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	here, err := netns.Get()
	if err != nil {
		return nil, fmt.Errorf("nftables: the network namespace of this thread: %w", err)
	}
	defer here.Close()
	elsewhere := netns.None()
	if !here.Equal(place) {
		elsewhere = place
	}
	socket, err := nl.SubscribeAt(elsewhere, here, unix.NETLINK_NETFILTER, unix.NFNLGRP_NFTABLES)
	if err != nil {
		return nil, fmt.Errorf("nftables: subscribing to changes: %w", err)
	}
	// Without CAP_NET_ADMIN in the first user namespace the buffer stays as it is; an overrun is noticed anyway.
	_ = socket.SetReceiveBufferSize(receiveBuffer, true)
	return socket, nil
}

// watch follows one subscription after the other until ctx ends. What happens between two of them nobody tells: the next one
// begins with a change.
func (t *Table) watch(ctx context.Context, socket *nl.NetlinkSocket, subscribe func() (*nl.NetlinkSocket, error), changed chan<- struct{}) {
	for socket != nil {
		stop := context.AfterFunc(ctx, socket.Close)
		t.follow(socket, changed)
		if stop() {
			socket.Close()
		}
		if socket = t.again(ctx, subscribe); socket != nil {
			tell(changed)
		}
	}
}

// again makes another subscription, however often it fails; nil if ctx ends before.
func (t *Table) again(ctx context.Context, subscribe func() (*nl.NetlinkSocket, error)) *nl.NetlinkSocket {
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
		if socket, err := subscribe(); err == nil {
			return socket
		}
		t.own.forget()
	}
}

// tell leaves a value waiting.
func tell(changed chan<- struct{}) {
	select {
	case changed <- struct{}{}:
	default:
	}
}

// follow reads events until the socket fails or is closed. The kernel sends what a transaction changed and then its
// generation.
func (t *Table) follow(socket *nl.NetlinkSocket, changed chan<- struct{}) {
	touched, draining := false, false
	for {
		messages, _, err := socket.Receive()
		signal := err != nil
		switch {
		case errors.Is(err, syscall.ENOBUFS):
			// The kernel drops everything, and says so no more, until the queue has been read empty: whoever reads the
			// table before that may miss a change. So signal now and once more then.
			draining = true
			_ = socket.SetReceiveTimeout(&unix.Timeval{Usec: 1000})
		case draining && errors.Is(err, syscall.EAGAIN):
			draining = false
			_ = socket.SetReceiveTimeout(&unix.Timeval{})
		case err != nil:
			return
		}
		for _, m := range messages {
			switch {
			case m.Header.Type>>8 != unix.NFNL_SUBSYS_NFTABLES:
			case m.Header.Type&0xff != unix.NFT_MSG_NEWGEN:
				touched = touched || concernsUs(m.Data)
			default:
				id, err := generationID(m.Data)
				foreign := err != nil || !t.own.mine(id)
				signal = signal || touched && foreign
				touched = false
			}
		}
		if signal {
			tell(changed)
		}
	}
}

// concernsUs reports whether an event is about our table. In every kind of event the name of the table is attribute 1
// (NFTA_TABLE_NAME, NFTA_CHAIN_TABLE, NFTA_SET_ELEM_LIST_TABLE and so on).
func concernsUs(event []byte) bool {
	name := attribute(event, unix.NFTA_TABLE_NAME)
	return len(event) > 0 && event[0] == unix.NFPROTO_INET && string(bytes.TrimRight(name, "\x00")) == Name
}
