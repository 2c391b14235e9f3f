package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
	"github.com/kube-ipvs/kube-ipvs/nodeaddr"
	"github.com/kube-ipvs/kube-ipvs/sync"
)

// quiet is a node on which all is well but for what a test does to its one Service, and to what its loop says.
func quiet(t *testing.T, svc func(*sync.Service), loop func(*sync.Overview)) (*inspector, *ipvsfake.Kernel, *rules) {
	t.Helper()
	i, kernel, table := shop(t)
	s := sync.NewState(sync.Defaults{Scheduler: "rr", Masquerade: filter.MasqueradeAll, NodePortRange: state().NodePortRange})
	s.SetPodsKnown(sync.IPv4)
	addr := netip.MustParseAddr("10.1.0.10")
	s.SetPlaces(nodeaddr.Places([]netip.Addr{addr}, nil, nil, nil))
	web := sync.Service{ID: sync.ServiceID{Namespace: "shop", Name: "web"}, UID: "web", Families: sync.IPv4, Ports: []sync.ServicePort{{
		Name: "http", Port: 80, NodePort: 30080, Protocol: frontend.TCP,
		Endpoints: []sync.Endpoint{{Addr: netip.MustParseAddrPort("10.244.1.1:8080"), Ready: true, Serving: true}},
	}}}
	svc(&web)
	s.Update(sync.Update{Services: []sync.Service{web}})
	s.Resolve()
	i.overview = func(context.Context) (*sync.Overview, error) {
		o := sync.NewOverview(s, []nodeaddr.Address{{Addr: addr, Interface: "eth0"}}, nil)
		o.Rules, o.Health = table.Rules.Clone(), sync.Health{Ready: true, Alive: true}
		loop(o)
		return o, nil
	}
	return i, kernel, table
}

// 0: all is well. 1: the command failed. 2: it did what it was told, and what it shows is not all well.
func TestExitCodesAreThoseOfTheHelp(t *testing.T) {
	asIs, fine := func(*sync.Service) {}, func(*sync.Overview) {}
	unready := func(svc *sync.Service) {
		svc.Ports[0].Endpoints[0].Ready, svc.Ports[0].Endpoints[0].Serving = false, false
	}
	ofIPv6 := func(svc *sync.Service) { svc.Families = sync.IPv6 }
	troubled := func(svc *sync.Service) { // and served all the same
		svc.Problems = []sync.Problem{{Object: "Service shop/web", Reason: sync.Invalid, Message: "an annotation cannot be read"}}
	}
	for _, c := range []struct {
		name    string
		service func(*sync.Service)
		loop    func(*sync.Overview)
		codes   map[string]int
	}{
		{"all is well", asIs, fine, map[string]int{
			"status": 0, "explain service shop/web": 0, "explain address 10.1.0.10:30080": 0, "diff": 0, "ports": 0, "top --once": 1,
			"explain service shop/nobody": 1, "explain address 10.1.0.10:30081": 2, "explain address 10.1.0.10:30080/udp": 2,
		}},
		{"the loop fails", asIs, func(o *sync.Overview) { o.Health = sync.Health{Alive: true, Reason: "nft is not installed"} }, map[string]int{
			"status": 2, "explain service shop/web": 0,
		}},
		{"a Service has a problem and is served", troubled, fine, map[string]int{"status": 2, "explain service shop/web": 2, "explain address 10.1.0.10:30080": 0}},
		{"a Service refuses its clients", unready, fine, map[string]int{"explain service shop/web": 2, "explain address 10.1.0.10:30080": 2}},
		{"a Service is not served", ofIPv6, fine, map[string]int{"status": 2, "explain service shop/web": 2, "explain address 10.1.0.10:30080": 2}},
	} {
		i, _, _ := quiet(t, c.service, c.loop)
		for args, want := range c.codes {
			code, stderr := answeredWith(t, i, args)
			if code != want {
				t.Errorf("%s: kube-ipvs %s ends with %d, want %d: %s", c.name, args, code, want, stderr)
			}
		}
	}
}

// answeredWith runs a command that asks an agent.
func answeredWith(t *testing.T, i *inspector, args string) (code int, stderr string) {
	t.Helper()
	t.Run(args, func(t *testing.T) {
		socket := ownSocket(t)
		answering(t, socket, socketHandler(i))
		_, stderr, code = kubeIPVS(t, "", append(strings.Fields(args), "--agent-socket", socket)...)
	})
	return code, stderr
}

func TestAnAgentThatCannotAnswerIsNoAgentThatIsUnwell(t *testing.T) {
	i, _, _ := quiet(t, func(*sync.Service) {}, func(*sync.Overview) {})
	i.overview = func(context.Context) (*sync.Overview, error) { return nil, errors.New("a pass takes long") }
	for _, args := range []string{"status", "diff", "explain service shop/web", "explain address 10.1.0.10:30080"} {
		if code, stderr := answeredWith(t, i, args); code != 1 || !strings.Contains(stderr, "503 Service Unavailable: a pass takes long") {
			t.Errorf("%s ends with %d: %s", args, code, stderr)
		}
	}
}

func TestADifferenceOfTheNftablesTableAloneIsOne(t *testing.T) {
	i, _, table := quiet(t, func(*sync.Service) {}, func(*sync.Overview) {})
	table.Intact = false
	if code, stderr := answeredWith(t, i, "diff"); code != 2 {
		t.Errorf("it ends with %d: %s", code, stderr)
	}
}

// The socket is no way to change what is served, whoever asks.
func TestTheSocketTakesQuestionsAlone(t *testing.T) {
	i, kernel, _ := quiet(t, func(*sync.Service) {}, func(*sync.Overview) {})
	i.openKernel = func() (ipvs.Handle, error) { return kernel, nil }
	h, before := socketHandler(i), kernel.Writes()
	for _, path := range []string{"/ports", "/status", "/diff", "/traffic", "/services", "/explain/service/shop/web", "/explain/address?address=10.1.0.10:30080"} {
		for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
			if code := askedBy(t, h, method, path); code != http.StatusMethodNotAllowed {
				t.Errorf("%s %s: %d", method, path, code)
			}
		}
		askedBy(t, h, http.MethodGet, path)
	}
	if n := kernel.Writes() - before; n != 0 {
		t.Errorf("questions wrote to the kernel %d times", n)
	}
	for path, want := range map[string]int{
		"/explain/service/shop/nobody": 404, "/explain/address?address=x": 400, "/explain/address": 400, "/traffic?endpoints=a/b/c": 400, "/traffic": 503, "/": 404,
	} {
		if code := askedBy(t, h, http.MethodGet, path); code != want {
			t.Errorf("%s: %d, want %d", path, code, want)
		}
	}
}

func askedBy(t *testing.T, h http.Handler, method, path string) int {
	t.Helper()
	r := httptest.NewRecorder()
	h.ServeHTTP(r, httptest.NewRequestWithContext(t.Context(), method, path, http.NoBody))
	return r.Code
}
