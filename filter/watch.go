package filter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// receiveBuffer holds what other programs write to other tables while we are busy: about 30,000 elements.
const receiveBuffer = 4 << 20

// Watch gives a channel that has a value waiting whenever somebody else has changed our table in the network namespace of
// the calling thread, or may have (the kernel's messages were lost). It is told within milliseconds, never of our own
// writes nor of other tables, and not what was changed: Read that. Values that are not taken are not repeated.
//
// The channel is closed when ctx ends, and also if the subscription fails, which leaves the periodic audit. A table has
// one watch at a time.
func (t *Table) Watch(ctx context.Context) (<-chan struct{}, error) {
	if !t.own.begin() {
		return nil, errors.New("nftables: changes are watched already")
	}
	socket, err := nl.Subscribe(unix.NETLINK_NETFILTER, unix.NFNLGRP_NFTABLES)
	if err != nil {
		t.own.end()
		return nil, fmt.Errorf("nftables: subscribing to changes: %w", err)
	}
	// Without CAP_NET_ADMIN in the first user namespace the buffer stays as it is; an overrun is noticed anyway.
	_ = socket.SetReceiveBufferSize(receiveBuffer, true)
	changed := make(chan struct{}, 1)
	stop := context.AfterFunc(ctx, socket.Close)
	go func() {
		defer close(changed)
		defer t.own.end()
		t.follow(socket, changed)
		if stop() {
			socket.Close()
		}
	}()
	return changed, nil
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
			select {
			case changed <- struct{}{}:
			default:
			}
		}
	}
}

// concernsUs reports whether an event is about our table. In every kind of event the name of the table is attribute 1
// (NFTA_TABLE_NAME, NFTA_CHAIN_TABLE, NFTA_SET_ELEM_LIST_TABLE and so on).
func concernsUs(event []byte) bool {
	name := attribute(event, unix.NFTA_TABLE_NAME)
	return len(event) > 0 && event[0] == unix.NFPROTO_INET && string(bytes.TrimRight(name, "\x00")) == Name
}
