package sync

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"syscall"

	"github.com/kube-ipvs/kube-ipvs/allocator"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/healthcheck"
)

// checks are the health checks of load balancers that this node should answer: a part of State.
//
// A Service's check is answered on every address that serves, is of the Service's families, and is on the node right
// now. An address in its grace has virtual servers and no health check: a load balancer that asks there should know.
type checks struct {
	absent map[netip.Addr]struct{}              // addresses that serve although the node lacks them
	want   map[netip.AddrPort]healthcheck.Check // what should be answered
	keys   map[ServiceID][]netip.AddrPort       // the keys of want by Service
	failed map[netip.AddrPort]error             // what cannot be listened on
	// changed: want changed since somebody asked.
	changed bool
}

func newChecks() checks {
	return checks{want: map[netip.AddrPort]healthcheck.Check{}, keys: map[ServiceID][]netip.AddrPort{}}
}

// SetAbsent says which of the addresses that serve the node lacks at the moment.
func (s *State) SetAbsent(addrs []netip.Addr) {
	absent := make(map[netip.Addr]struct{}, len(addrs))
	for _, addr := range addrs {
		absent[addr] = struct{}{}
	}
	if maps.Equal(absent, s.checks.absent) {
		return
	}
	s.checks.absent = absent
	for id, svc := range s.services {
		if svc.HealthCheckNodePort != 0 {
			s.dirty[id] = struct{}{}
		}
	}
}

// Checks is what should be answered on which address and port, and whether that changed since the last call. The map is
// State's own: it is to be read, and not to be kept.
func (s *State) Checks() (want map[netip.AddrPort]healthcheck.Check, changed bool) {
	changed, s.checks.changed = s.checks.changed, false
	return s.checks.want, changed
}

// SetListenErrors says which of the Checks cannot be listened on: that is a problem of their Services.
func (s *State) SetListenErrors(failed map[netip.AddrPort]error) {
	before := s.checks.failed
	s.checks.failed = failed
	for _, errs := range []map[netip.AddrPort]error{before, failed} {
		for addr := range errs {
			check, wanted := s.checks.want[addr]
			if wanted && cause(before[addr]) != cause(failed[addr]) {
				s.assess(ServiceID{Namespace: check.Namespace, Name: check.Name})
			}
		}
	}
}

// checkKeys are the frontends on which a Service's health check is asked for on this node.
func (s *State) checkKeys(svc Service) []frontend.Key {
	if svc.HealthCheckNodePort == 0 {
		return nil
	}
	return ServicePort{Protocol: frontend.TCP, NodePort: svc.HealthCheckNodePort}.keysAt(s.placesOf(svc))
}

func (s *State) checkClaims(svc Service) []allocator.Claim {
	var claims []allocator.Claim
	for _, key := range s.checkKeys(svc) {
		claims = append(claims, allocator.Claim{Key: key, Kind: allocator.HealthCheck})
	}
	return claims
}

// resolveChecks computes the checks of one Service anew.
func (s *State) resolveChecks(id ServiceID) {
	c, svc := &s.checks, s.services[id]
	var keys []netip.AddrPort
	for _, claim := range s.checkClaims(svc) {
		addr := claim.Key.Addr
		if _, absent := c.absent[addr]; absent || s.admission.leftOut[id] != fits || !s.ledger.Holds(id, claim) {
			continue
		}
		key := netip.AddrPortFrom(addr, claim.Key.Port)
		check := healthcheck.Check{Namespace: id.Namespace, Name: id.Name, LocalEndpoints: svc.localReady(addr)}
		if was, had := c.want[key]; !had || was != check {
			c.want[key], c.changed = check, true
		}
		keys = append(keys, key)
	}
	for _, key := range c.keys[id] {
		// Another Service may have taken it over in the same Resolve.
		if of := c.want[key]; !slices.Contains(keys, key) && of.Namespace == id.Namespace && of.Name == id.Name {
			delete(c.want, key)
			c.changed = true
		}
	}
	delete(c.keys, id)
	if len(keys) > 0 {
		c.keys[id] = keys
	}
}

// localReady counts the addresses of the ready endpoints on this node, of the family of addr: kube-proxy counts in each
// family by itself, and an address once whatever ports it has (kubernetes pkg/proxy, LocalReadyEndpoints). What
// terminates does not count although it may still be used: the load balancer should look elsewhere by then (KEP-1669).
func (s Service) localReady(addr netip.Addr) int {
	n := 0
	for _, a := range s.LocalReady {
		if a.Is4() == addr.Is4() {
			n++
		}
	}
	return n
}

// checkProblems are those that a Service's health check has on this node.
func (s *State) checkProblems(id ServiceID, svc Service) []Problem {
	if svc.HealthCheckNodePort == 0 {
		return nil // as with most
	}
	var found []Problem
	object, port := "Service "+id.String(), fmt.Sprintf("health check port %d/tcp", svc.HealthCheckNodePort)
	keys := s.checkKeys(svc)
	if len(keys) == 0 && len(s.places) > 0 && len(svc.Ports) == 0 && svc.Networks == nil { // else its ports say so
		found = append(found, Problem{
			Object: object, Reason: NoAddress,
			Message: port + " is not answered here: --nodeport-addresses chooses no address of its family on this node",
		})
	}
	for _, r := range s.rivals(svc, keys, allocator.HealthCheck) {
		found = append(found, Problem{
			Object: object, Reason: Conflict, Skipped: true,
			Message: fmt.Sprintf("%s on %s belongs to Service %s, %s: give one of the two another port (a healthCheckNodePort that is set cannot be changed: make the Service anew)",
				port, strings.Join(r.addrs, ", "), r.holder, r.why),
		})
	}
	byCause := map[string][]string{}
	for _, key := range s.checks.keys[id] {
		if err := s.checks.failed[key]; err != nil {
			byCause[cause(err)] = append(byCause[cause(err)], key.Addr().String())
		}
	}
	for text, addrs := range byCause {
		found = append(found, Problem{
			Object: object, Reason: ListenFailed,
			Message: fmt.Sprintf("%s cannot be listened on at %s (%s); it is tried again: %s",
				port, strings.Join(addrs, ", "), text, listenMend(text, svc.HealthCheckNodePort)),
		})
	}
	return found
}

// cause is what failed, without the address: problems of several addresses are one if their causes are.
func cause(err error) string {
	if err == nil {
		return ""
	}
	if errno, is := errors.AsType[syscall.Errno](err); is {
		return errno.Error()
	}
	return err.Error()
}

func listenMend(cause string, port uint16) string {
	if cause == syscall.EADDRINUSE.Error() {
		return fmt.Sprintf("stop the program on this node that has the port, ss -ltnp 'sport = :%d' names it", port)
	}
	return "the load balancer takes this node for one without endpoints until then"
}
