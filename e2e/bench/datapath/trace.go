package datapath

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/kube-ipvs/kube-ipvs/e2e/bench/result"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
)

// traceTable has the rules that have packets traced. Its chain is the first that they pass, and not counted.
const traceTable = "kube-ipvs-bench"

// kinds of packets that are traced, in the order in which a connection has them.
const kinds = 4

// traceNote says what the values of Hooks and Rules are.
const traceNote = "of the packet that opens a connection, of its answer, of a later request, of that one's answer"

// traceRules mark a packet of each kind, in their order.
func traceRules(request, answer netip.AddrPort) string {
	ip := "ip6"
	if request.Addr().Is4() {
		ip = "ip"
	}
	to := fmt.Sprintf("%s daddr %s tcp dport %d", ip, request.Addr(), request.Port())
	from := fmt.Sprintf("%s saddr %s tcp sport %d", ip, answer.Addr(), answer.Port())
	return fmt.Sprintf(`table inet %s {
	chain first {
		type filter hook prerouting priority -450
		%s tcp flags & (syn | ack) == syn meta nftrace set 1
		%s tcp flags & (syn | ack) == (syn | ack) meta nftrace set 1
		%s tcp flags & (psh | rst) == psh meta nftrace set 1
		%s tcp flags & (psh | rst) == psh meta nftrace set 1
	}
}
`, traceTable, to, from, to, from)
}

// hooks emits what the packets of a connection to a target pass on a node.
func hooks(ctx context.Context, node *topo.Host, t *target, pod netip.AddrPort, family string, emit func(result.Sample)) (err error) {
	passages, err := passages(ctx, node, t, pod)
	if err != nil {
		return fmt.Errorf("trace a connection to %s on %s: %w", t.name, node.Name, err)
	}
	hooks := result.Sample{Subject: t.name, Measure: result.Hooks, Family: family, Unit: result.Count, Note: traceNote}
	legacy, err := legacyTables(node)
	if err != nil {
		return err
	}
	if legacy != "" {
		hooks.AtLeast = true
		hooks.Note += "; without those of legacy iptables, which cannot be traced: tables " + legacy
	}
	rules := hooks
	rules.Measure = result.Rules
	for _, p := range passages {
		hooks.Values = append(hooks.Values, float64(p.hooks))
		rules.Values = append(rules.Values, float64(p.rules))
	}
	emit(hooks)
	emit(rules)
	return nil
}

// passages traces a connection with one request. There is one packet of each kind, and each of them is answered only when it has passed the
// node, so that what is said of it stands between its mark and the next one.
func passages(ctx context.Context, node *topo.Host, t *target, pod netip.AddrPort) (_ []passage, err error) {
	if err := run(ctx, node, traceRules(t.at, pod), "nft", "-f", "-"); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, run(ctx, node, "", "nft", "delete", "table", "inet", traceTable)) }()
	rules, err := readRuleset(ctx, node)
	if err != nil {
		return nil, err
	}
	socket, err := subscribe(node)
	if err != nil {
		return nil, err
	}
	defer socket.Close()
	if err := t.once(); err != nil {
		return nil, err
	}
	events, err := receiveEvents(socket)
	if err != nil {
		return nil, err
	}
	packets, err := split(rules, events)
	if err != nil {
		return nil, err
	}
	var all []passage
	for _, p := range packets {
		passed, err := follow(rules, p)
		if err != nil {
			return nil, err
		}
		all = append(all, passed)
	}
	return all, nil
}

// split gives the events of each packet, without those of the chain that marks it.
func split(rules ruleset, events []event) ([][]event, error) {
	marks := chainID{unix.NFPROTO_INET, traceTable, "first"}
	var packets [][]event
	for _, e := range events {
		switch {
		case e.chain != marks:
			if len(packets) == 0 {
				return nil, fmt.Errorf("somebody else has packets traced, in chain %s", e.chain)
			}
			packets[len(packets)-1] = append(packets[len(packets)-1], e)
		case e.rule != 0:
			if next := len(packets); next >= kinds || rules[marks][next] != e.rule {
				return nil, fmt.Errorf("packet %d of the connection is not of the kind that was expected", next+1)
			}
			packets = append(packets, nil)
		}
	}
	if len(packets) != kinds {
		return nil, fmt.Errorf("%d packets of the connection were seen, want %d", len(packets), kinds)
	}
	return packets, nil
}

// subscribe has the kernel tell of traced packets of a host.
func subscribe(host *topo.Host) (socket *nl.NetlinkSocket, err error) {
	err = host.Do(func() error {
		socket, err = nl.Subscribe(unix.NETLINK_NETFILTER, unix.NFNLGRP_NFTRACE)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("subscribe to traces: %w", err)
	}
	if err := socket.SetReceiveBufferSize(4<<20, true); err != nil {
		socket.Close()
		return nil, fmt.Errorf("subscribe to traces: %w", err)
	}
	// What has been traced is there already; this is for a packet that is on its way.
	if err := socket.SetReceiveTimeout(&unix.Timeval{Usec: 500_000}); err != nil {
		socket.Close()
		return nil, fmt.Errorf("subscribe to traces: %w", err)
	}
	return socket, nil
}

// receiveEvents reads until there is nothing more to read.
func receiveEvents(socket *nl.NetlinkSocket) ([]event, error) {
	var events []event
	for {
		messages, _, err := socket.Receive()
		if errors.Is(err, syscall.EAGAIN) {
			return events, nil
		}
		if err != nil {
			return nil, fmt.Errorf("receive traces: %w", err)
		}
		for _, m := range messages {
			if m.Header.Type != unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_TRACE {
				continue
			}
			e, err := parseEvent(m.Data)
			if err != nil {
				return nil, fmt.Errorf("receive traces: %w", err)
			}
			events = append(events, e)
		}
	}
}

// parseEvent reads a message NFT_MSG_TRACE.
func parseEvent(b []byte) (event, error) {
	if len(b) < nl.SizeofNfgenmsg {
		return event{}, errors.New("short message")
	}
	e := event{chain: chainID{family: b[0]}}
	err := attributes(b[nl.SizeofNfgenmsg:], func(kind uint16, value []byte) error {
		switch kind {
		case unix.NFTA_TRACE_TABLE:
			e.chain.table = nl.BytesToString(value)
		case unix.NFTA_TRACE_CHAIN:
			e.chain.name = nl.BytesToString(value)
		case unix.NFTA_TRACE_RULE_HANDLE:
			e.rule = number(value)
		case unix.NFTA_TRACE_TYPE:
			e.kind = eventKind(number(value))
		case unix.NFTA_TRACE_VERDICT:
			return attributes(value, func(kind uint16, value []byte) error {
				switch kind {
				case unix.NFTA_VERDICT_CODE:
					e.verdict = int32(number(value))
				case unix.NFTA_VERDICT_CHAIN:
					e.to = nl.BytesToString(value)
				}
				return nil
			})
		}
		return nil
	})
	return e, err
}

// number reads one in network byte order, of any size.
func number(b []byte) (n uint64) {
	for _, digit := range b {
		n = n<<8 | uint64(digit)
	}
	return n
}

// attributes calls f for each netlink attribute.
func attributes(b []byte, f func(kind uint16, value []byte) error) error {
	all, err := nl.ParseRouteAttr(b)
	if err != nil {
		return err
	}
	for _, a := range all {
		if err := f(a.Attr.Type&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER), a.Value); err != nil {
			return err
		}
	}
	return nil
}

// legacyTables are the tables of legacy iptables on a host, of both families.
func legacyTables(host *topo.Host) (string, error) {
	var names []string
	err := host.Do(func() error {
		for _, file := range []string{"ip_tables_names", "ip6_tables_names"} {
			b, err := os.ReadFile("/proc/thread-self/net/" + file)
			if err != nil && !errors.Is(err, os.ErrNotExist) { // the kernel has no legacy iptables, or not yet
				return err
			}
			names = append(names, strings.Fields(string(b))...)
		}
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("tables of legacy iptables on %s: %w", host.Name, err)
	}
	return strings.Join(names, ", "), nil
}
