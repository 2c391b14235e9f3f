//go:build kernel

package e2e

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/agent"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// healthPort is the healthCheckNodePort of the Service web, otherPort that of others.
const (
	healthPort = 32000
	otherPort  = 32001
)

// balanced is web behind a load balancer.
func balanced() agent.Service {
	s := web()
	s.Type, s.Policy, s.HealthCheck = corev1.ServiceTypeLoadBalancer, corev1.ServiceExternalTrafficPolicyLocal, healthPort
	return s
}

// health is what the agent answers to a load balancer.
type health struct {
	Service                     struct{ Namespace, Name string }
	LocalEndpoints              int
	ServiceProxyHealthy         bool
	status                      int
	contentType, sniff, weights string
}

// askHealth asks on a connection.
func askHealth(ctx context.Context, c net.Conn) (h health, err error) {
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return h, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://node1/healthz", nil)
	if err != nil {
		return h, err
	}
	if err := req.Write(c); err != nil {
		return h, err
	}
	answer, err := http.ReadResponse(bufio.NewReader(c), req)
	if err != nil {
		return h, err
	}
	defer answer.Body.Close()
	h.status, h.contentType = answer.StatusCode, answer.Header.Get("Content-Type")
	h.sniff, h.weights = answer.Header.Get("X-Content-Type-Options"), answer.Header.Get("X-Load-Balancing-Endpoint-Weight")
	return h, json.NewDecoder(answer.Body).Decode(&h)
}

// dialHealth connects from a host. Nobody listens where the error is ECONNREFUSED.
func dialHealth(t *testing.T, from *topo.Host, to netip.Addr, port uint16) (net.Conn, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	return from.Dial(ctx, topo.TCP, netip.AddrPortFrom(to, port))
}

// reports is nil if a Service's health check says that there are n local endpoints.
func reports(t *testing.T, from *topo.Host, to netip.Addr, port uint16, service string, n int) error {
	t.Helper()
	c, err := dialHealth(t, from, to, port)
	if err != nil {
		return err
	}
	defer c.Close()
	return reportsOn(t, c, service, n)
}

func reportsOn(t *testing.T, c net.Conn, service string, n int) error {
	t.Helper()
	got, err := askHealth(t.Context(), c)
	if err != nil {
		return err
	}
	want := health{
		LocalEndpoints: n, ServiceProxyHealthy: true,
		status: http.StatusOK, contentType: "application/json", sniff: "nosniff", weights: fmt.Sprint(n),
	}
	want.Service.Namespace, want.Service.Name = "default", service
	if n == 0 {
		want.status = http.StatusServiceUnavailable
	}
	if got != want {
		return fmt.Errorf("%s answers %+v, want %+v", c.RemoteAddr(), got, want)
	}
	return nil
}

func (r *rig) chosen() []netip.Addr {
	return []netip.Addr{r.Node1.A4, r.Node1.B4, r.Node1.A6, r.Node1.B6}
}

// reported waits until the health check of a Service says on all chosen addresses that there are n local endpoints.
func (r *rig) reported(t *testing.T, port uint16, service string, n int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s has %d local endpoints", service, n), func() error {
		var errs []error
		for _, addr := range r.chosen() {
			errs = append(errs, reports(t, r.Client, addr, port, service, n))
		}
		return errors.Join(errs...)
	})
}

// unheard requires that nobody listens on an address.
func unheard(t *testing.T, from *topo.Host, to netip.Addr, port uint16) {
	t.Helper()
	if err := refusesHealth(t, from, to, port); err != nil {
		t.Error(err)
	}
}

func refusesHealth(t *testing.T, from *topo.Host, to netip.Addr, port uint16) error {
	t.Helper()
	c, err := dialHealth(t, from, to, port)
	switch {
	case err == nil:
		_ = c.Close()
		return fmt.Errorf("%s port %d answers %s", to, port, from.Name)
	case !errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%s asks %s port %d, which should be refused: %w", from.Name, to, port, err)
	}
	return nil
}

func TestLoadBalancersAreToldWhereEndpointsAre(t *testing.T) {
	r := newRig(t)
	r.serve(t, balanced(), r.both()...)
	r.start(t, bothNetworks)
	r.reported(t, healthPort, "web", 1)
	t.Run("on chosen addresses alone", r.testUnchosenIsUnheard)
	t.Run("a terminating endpoint is used and does not count", r.testTerminatingDoesNotCount)
	t.Run("addresses are followed", r.testHealthFollowsAddresses)
	t.Run("without node ports", r.testHealthWithoutNodePorts)
	t.Run("a program that has the port holds one address", r.testPortInUse)

	r.reported(t, healthPort, "web", 1)
	must(t, r.Remove(balanced()))
	for _, addr := range r.chosen() { // given up one after the other
		eventually(t, "the health check of a Service that is gone is refused", func() error { return refusesHealth(t, r.Client, addr, healthPort) })
	}
}

func (r *rig) testUnchosenIsUnheard(t *testing.T) {
	must(t, reports(t, r.web1.Host, r.Node1.A4, healthPort, "web", 1))
	for _, p := range r.Node1.PodCIDRs {
		unheard(t, r.web1.Host, p.Addr().Next(), healthPort)
	}
	for _, loopback := range []string{"127.0.0.1", "::1"} {
		unheard(t, r.Node1, netip.MustParseAddr(loopback), healthPort)
	}
}

func (r *rig) testTerminatingDoesNotCount(t *testing.T) {
	c, err := dialHealth(t, r.Client, r.Node1.B4, healthPort)
	must(t, err)
	defer c.Close()
	must(t, reportsOn(t, c, "web", 1))
	must(t, r.Endpoints(balanced(), []agent.Endpoint{agent.Terminating(r.web1, r.Node1), agent.Ready(r.web2, r.Node2)}))
	r.reported(t, healthPort, "web", 0)
	if err := reportsOn(t, c, "web", 0); err != nil {
		t.Errorf("a connection that is open while the number changes: %v", err)
	}
	for _, addr := range r.chosen() {
		r.answersOnly(t, topo.TCP, at(addr), 2, "web-1")
	}
	must(t, r.Endpoints(balanced(), r.both()))
	r.reported(t, healthPort, "web", 1)
	if err := reportsOn(t, c, "web", 1); err != nil {
		t.Errorf("a connection that is open while the number changes: %v", err)
	}
}

func (r *rig) testHealthFollowsAddresses(t *testing.T) {
	for dev, p := range map[string]netip.Prefix{topo.DevB: fresh4(), topo.DevA: fresh6()} {
		must(t, r.Node1.AddAddress(dev, p))
		added := time.Now()
		eventually(t, "the address is answered", func() error { return reports(t, r.Client, p.Addr(), healthPort, "web", 1) })
		took := since(added)
		t.Logf("%s was answered %s after it appeared", p.Addr(), took)
		if took > soon {
			t.Errorf("%s was answered only after %s", p.Addr(), took)
		}
	}
	must(t, r.Node1.RemoveAddress(topo.DevB, fresh4()))
	gone := time.Now()
	eventually(t, "the address is given up", func() error {
		listens, err := r.listens(fresh4().Addr(), healthPort)
		if err == nil && listens {
			err = errors.New("it is listened on")
		}
		return err
	})
	t.Logf("%s was given up %s after it vanished", fresh4().Addr(), since(gone))
	must(t, r.isServed(t, fresh4().Addr(), true)) // the virtual server has its grace
	must(t, reports(t, r.Client, fresh6().Addr(), healthPort, "web", 1))
	must(t, r.Node1.AddAddress(topo.DevB, fresh4()))
	eventually(t, "it is back", func() error { return reports(t, r.Client, fresh4().Addr(), healthPort, "web", 1) })
	must(t, r.Node1.RemoveAddress(topo.DevB, fresh4()))
	must(t, r.Node1.RemoveAddress(topo.DevA, fresh6()))
}

// listens reports whether node 1 has a socket that listens on an IPv4 address, be it there or not.
func (r *rig) listens(addr netip.Addr, port uint16) (listens bool, err error) {
	const state = " 00000000:0000 0A " // no peer, listening
	b := addr.As4()
	line := fmt.Sprintf(" %08X:%04X", binary.LittleEndian.Uint32(b[:]), port) + state
	err = r.Node1.Do(func() error {
		table, err := os.ReadFile("/proc/thread-self/net/tcp")
		listens = strings.Contains(string(table), line)
		return err
	})
	return listens, err
}

func (r *rig) testHealthWithoutNodePorts(t *testing.T) {
	listens, err := r.listens(r.Node1.A4, healthPort)
	must(t, err)
	if !listens {
		t.Error("the socket of a health check that is answered is not found: the test before this one proved nothing")
	}
	s := balanced()
	s.Name, s.HealthCheck, s.Ports = "alone", otherPort, []agent.Port{{Port: 80}}
	r.serve(t, s, r.both()...)
	r.reported(t, otherPort, "alone", 1)
	if _, served := r.table(t)[frontend.NewKey(r.Node1.A4, frontend.TCP, otherPort)]; served {
		t.Error("the health check is a virtual server")
	}
	must(t, r.Remove(s))
	eventually(t, "it is refused once the Service is gone", func() error {
		listens, err := r.listens(r.Node1.A4, otherPort)
		if listens {
			err = errors.New("it is listened on")
		}
		return err
	})
}

func (r *rig) testPortInUse(t *testing.T) {
	const failing = `kube_ipvs_problems{reason="listen-failed"}`
	program, err := r.Node1.Listen(t.Context(), netip.AddrPortFrom(r.Node1.B4, otherPort))
	must(t, err)
	defer program.Close()
	s := balanced()
	s.Name, s.HealthCheck, s.Ports = "second", otherPort, port(30081)
	r.serve(t, s, r.both()...)
	r.complaint(t, "Service default/second", "health check port 32001/tcp cannot be listened on at 10.2.0.10 (address already in use)")
	if n := r.metric(t, failing); n != 1 {
		t.Errorf("%v problems of this kind, want 1", n)
	}
	must(t, r.agent.Ready(t.Context()))
	for _, addr := range []netip.Addr{r.Node1.A4, r.Node1.A6, r.Node1.B6} {
		must(t, reports(t, r.Client, addr, otherPort, "second", 1))
	}
	must(t, program.Close())
	r.reported(t, otherPort, "second", 1)
	eventually(t, "the problem is solved", func() error {
		all, err := r.agent.Metrics(t.Context())
		if err == nil && all[failing] != 0 {
			err = fmt.Errorf("%v problems", all[failing])
		}
		return err
	})
	must(t, r.Remove(s))
}
