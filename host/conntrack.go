package host

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

const (
	// conntrackTimeout is how long the kernel may take for one part of an answer.
	conntrackTimeout = 5 * time.Second
	// conntrackAttempts bounds the repetitions of a dump that changes came in between of.
	conntrackAttempts = 5
)

// DeleteStaleFlows deletes the conntrack entries of UDP flows to frontends whose answers are expected from elsewhere than
// the frontend's real servers, and returns how many it deleted. The entry of a flow outlives its real server, or comes
// from before its virtual server was made, for as long as the client goes on sending; without it the flow's next datagram
// is a new one for IPVS and for nftables. Flows to real servers are left alone, and so is what went to another address,
// has another protocol, or stands in a conntrack zone, where IPVS does not look.
//
// An entry that is gone meanwhile is no error. Others that cannot be deleted do not keep the rest from being deleted. It
// works on the network namespace of the calling thread, with one dump for each family that a frontend has.
func DeleteStaleFlows(real map[frontend.Key][]netip.AddrPort) (deleted int, err error) {
	s, err := openConntrack()
	if err != nil {
		return 0, err
	}
	defer s.nl.Close()
	alive := newServers(real)
	var errs []error
	for _, f := range dumpFilters(real) {
		n, err := deleteAll(
			func() ([]flow, error) { return s.list(f, alive.stale) },
			func(flows []flow) (int, error) { return s.delete(f, flows) },
		)
		deleted += n
		errs = append(errs, err)
	}
	return deleted, errors.Join(errs...)
}

// servers are the real servers of each frontend.
type servers map[frontend.Key]map[netip.AddrPort]struct{}

func newServers(real map[frontend.Key][]netip.AddrPort) servers {
	all := make(servers, len(real))
	for key, addrs := range real {
		all[key] = make(map[netip.AddrPort]struct{}, len(addrs))
		for _, addr := range addrs {
			all[key][addr] = struct{}{}
		}
	}
	return all
}

// stale reports whether a flow to one of the frontends expects its answers from elsewhere than the real servers.
func (s servers) stale(f flow) bool {
	reals, known := s[f.to]
	if !known || f.zoned {
		return false
	}
	_, alive := reals[f.answers]
	return !alive
}

// dumpFilter chooses the entries that the kernel lists: UDP flows of one family, to one port or to all.
type dumpFilter struct {
	ipv4 bool
	port uint16 // 0: all
}

// dumpFilters is one for each family of the frontends. The port makes the difference for a long table: what it leaves
// out the kernel does not even write down.
func dumpFilters(real map[frontend.Key][]netip.AddrPort) []dumpFilter {
	ports := map[bool]uint16{}
	for key := range real {
		port, seen := ports[key.Addr.Is4()]
		if !seen {
			port = key.Port
		}
		if port != key.Port {
			port = 0
		}
		ports[key.Addr.Is4()] = port
	}
	var filters []dumpFilter
	for _, ipv4 := range []bool{true, false} {
		if port, has := ports[ipv4]; has {
			filters = append(filters, dumpFilter{ipv4: ipv4, port: port})
		}
	}
	return filters
}

// conntrackSocket is a socket to the kernel's table of connections.
type conntrackSocket struct {
	nl      *nl.NetlinkSocket
	sockets map[int]*nl.SocketHandle
}

func openConntrack() (*conntrackSocket, error) {
	s, err := nl.GetNetlinkSocketAt(netns.None(), netns.None(), unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket for conntrack: %w", err)
	}
	timeout := unix.NsecToTimeval(conntrackTimeout.Nanoseconds())
	if err := errors.Join(s.SetSendTimeout(&timeout), s.SetReceiveTimeout(&timeout)); err != nil {
		s.Close()
		return nil, fmt.Errorf("timeouts of the netlink socket for conntrack: %w", err)
	}
	return &conntrackSocket{nl: s, sockets: map[int]*nl.SocketHandle{unix.NETLINK_NETFILTER: {Socket: s}}}, nil
}

// deleteAll deletes what a dump lists. A dump that the kernel marks as interrupted may lack entries, so it is repeated once
// those that it had are deleted.
func deleteAll(list func() ([]flow, error), del func([]flow) (int, error)) (deleted int, err error) {
	for range conntrackAttempts {
		found, err := list()
		if err != nil && !errors.Is(err, nl.ErrDumpInterrupted) {
			return deleted, err
		}
		n, failed := del(found)
		deleted += n
		if failed != nil || err == nil {
			return deleted, failed
		}
	}
	return deleted, fmt.Errorf("list conntrack entries: %w %d times", nl.ErrDumpInterrupted, conntrackAttempts)
}

// list returns the flows that the kernel lists and match chooses.
func (c *conntrackSocket) list(f dumpFilter, match func(flow) bool) (found []flow, err error) {
	req := dumpRequest(f)
	req.Sockets = c.sockets
	err = req.ExecuteIter(unix.NETLINK_NETFILTER, 0, func(message []byte) bool {
		if flow, ok := decodeFlow(message); ok && match(flow) {
			found = append(found, flow)
		}
		return true
	})
	if errors.Is(err, unix.EINVAL) {
		err = fmt.Errorf("%w: is there a module nf_conntrack_netlink?", err)
	}
	if err != nil {
		err = fmt.Errorf("list conntrack entries: %w", err)
	}
	return found, err
}

// delete deletes the entries of flows. The first error stands for all: they have one cause as a rule.
func (c *conntrackSocket) delete(f dumpFilter, flows []flow) (deleted int, err error) {
	failed := 0
	for _, flow := range flows {
		req := deleteRequest(f.ipv4, flow)
		req.Sockets = c.sockets
		_, e := req.Execute(unix.NETLINK_NETFILTER, 0)
		switch {
		case e == nil:
			deleted++
		case errors.Is(e, unix.ENOENT):
		default:
			failed++
			if err == nil {
				err = fmt.Errorf("delete the conntrack entry of a flow to %s answered by %s: %w", flow.to, flow.answers, e)
			}
		}
	}
	if failed > 1 {
		err = fmt.Errorf("%w, and %d more", err, failed-1)
	}
	return deleted, err
}
