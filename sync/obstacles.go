package sync

import (
	"fmt"
	"maps"
	"slices"

	"github.com/kube-ipvs/kube-ipvs/allocator"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/host"
)

// PortConflict says what becomes of a node port on which a program of the node listens.
type PortConflict uint8

// PortConflictWarn serves it, as Kubernetes does: the program hears nothing from outside any more. PortConflictSkip leaves
// it to the program until that ends.
const (
	PortConflictWarn PortConflict = iota
	PortConflictSkip
)

// socket is what programs listen on: every address, or one.
type socket struct {
	protocol frontend.Protocol
	port     uint16
}

// obstacles are what others than Services have on ports of this node.
type obstacles struct {
	listeners map[socket][]host.Listener
	// foreign are virtual servers that are not ours, as far as an extra port is asked for there.
	foreign map[frontend.Key]struct{}
	// kept are frontends that an agent before this one served: nobody takes them away by listening.
	kept map[frontend.Key]struct{}
}

// SetListeners says which programs listen on ports of this node. It concerns the Services that claim such a port.
func (s *State) SetListeners(listeners []host.Listener) {
	now := map[socket][]host.Listener{}
	for _, l := range listeners {
		at := socket{l.Protocol, l.Port}
		now[at] = append(now[at], l)
	}
	before := s.obstacles.listeners
	s.obstacles.listeners = now
	for _, all := range []map[socket][]host.Listener{before, now} {
		for at := range all {
			if !slices.Equal(before[at], now[at]) {
				s.concernClaimants(at)
			}
		}
	}
}

func (s *State) concernClaimants(at socket) {
	for _, p := range s.places {
		for _, c := range s.ledger.Claimants(frontend.NewKey(p.Addr, at.protocol, at.port)) {
			s.dirty[c.ID] = struct{}{}
		}
	}
}

// SetForeign says which virtual servers of the kernel are not ours. It matters where an extra port is asked for: a node port
// is ours by right of the API server, an extra port is not.
func (s *State) SetForeign(keys []frontend.Key) {
	now := map[frontend.Key]struct{}{}
	for _, key := range keys {
		if c := s.ledger.Claimants(key); len(c) > 0 && c[0].Kind == allocator.ExtraPort {
			now[key] = struct{}{}
		}
	}
	before := s.obstacles.foreign
	s.obstacles.foreign = now
	for _, all := range []map[frontend.Key]struct{}{before, now} {
		for key := range all {
			_, was := before[key]
			if _, is := now[key]; was != is {
				s.concernClaimants(socket{key.Protocol, key.Port})
			}
		}
	}
}

// SetKept names the frontends that an agent before this one served.
func (s *State) SetKept(keys map[frontend.Key]struct{}) { s.obstacles.kept = maps.Clone(keys) }

// obstacle is what stands in the way of a frontend.
type obstacle struct {
	// what it is, for people; "" if there is none.
	what string
	// blocks: the frontend is not served because of it.
	blocks bool
}

// obstacleTo is what stands in the way of a port's frontend that its Service holds.
func (s *State) obstacleTo(port ServicePort, key frontend.Key) obstacle {
	_, serving := s.want[key]
	if _, kept := s.obstacles.kept[key]; kept {
		serving = true
	}
	if _, foreign := s.obstacles.foreign[key]; foreign && port.Extra {
		return obstacle{"a virtual server that is not ours is there already", true}
	}
	listeners := s.obstacles.listeners[socket{key.Protocol, key.Port}]
	i := slices.IndexFunc(listeners, func(l host.Listener) bool { return l.Takes(key.Addr) })
	if i < 0 {
		return obstacle{}
	}
	return obstacle{listenerText(listeners[i]), !serving && (port.Extra || s.PortConflict == PortConflictSkip)}
}

func listenerText(l host.Listener) string {
	if l.Process.PID == 0 {
		return "a program listens there"
	}
	return fmt.Sprintf("%s (process %d) listens there", l.Process.Name, l.Process.PID)
}

// obstacleProblem is that of a port with programs or others' virtual servers in its way, on the addresses given.
func obstacleProblem(object string, port ServicePort, what string, blocks bool, addrs string) Problem {
	p := Problem{Object: object, Reason: PortInUse, Skipped: blocks}
	switch {
	case blocks && port.Extra:
		p.Message = fmt.Sprintf("extra port %d/%s is not opened on %s: %s; it is once that ends", port.NodePort, port.Protocol, addrs, what)
	case blocks:
		p.Message = fmt.Sprintf("node port %d/%s is not served on %s: %s (--port-conflict=skip); it is once that ends",
			port.NodePort, port.Protocol, addrs, what)
	default:
		p.Message = fmt.Sprintf("%s %d/%s on %s: %s, and gets nothing from outside while the port is served: stop it, or give one of the two another port",
			portWord(port), port.NodePort, port.Protocol, addrs, what)
	}
	return p
}

// portWord is what a port of a Service is called on a node.
func portWord(port ServicePort) string {
	if port.Extra {
		return "extra port"
	}
	return "node port"
}
