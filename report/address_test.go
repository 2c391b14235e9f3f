package report

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/nodeaddr"
	"github.com/kube-ipvs/kube-ipvs/sync"
)

// has is a kernel with these virtual servers, each with one real server.
func has(keys ...frontend.Key) Kernel {
	k := Kernel{Entries: ipvs.Table{}, Connections: map[frontend.Key]map[netip.AddrPort]ipvs.Connections{}}
	for _, key := range keys {
		k.Entries[key] = ipvs.Entry{VirtualServer: ipvs.VirtualServer{Scheduler: "rr"}, Reals: map[netip.AddrPort]ipvs.RealServer{
			netip.MustParseAddrPort("10.244.1.1:8080"): {Weight: 1},
		}}
	}
	return k
}

// What answers on an address, or why nothing does, in each case that there is.
func TestAnAddressIsToldByItsTrueReason(t *testing.T) {
	tcp, udp := frontend.NewKey(onA, frontend.TCP, 30080), frontend.NewKey(onA, frontend.UDP, 30080)
	owned := func(o *sync.Overview, keys ...frontend.Key) *sync.Overview {
		o.Rules = filter.Rules{Owned: filter.NewSet(keys...)}
		return o
	}
	unready := func(svc *sync.Service) {
		svc.Ports[0].Endpoints[0].Ready, svc.Ports[0].Endpoints[0].Serving = false, false
	}
	beside := func(svc *sync.Service) {
		other := svc.Ports[0]
		other.Name, other.Protocol = "http3", frontend.UDP
		other.Endpoints = []sync.Endpoint{{Addr: netip.MustParseAddrPort("10.244.1.1:8443"), Ready: true, Serving: true}}
		svc.Ports = append(svc.Ports, other)
	}
	nobody := func(svc *sync.Service) {
		svc.Sources = filter.NewSources([]netip.Prefix{netip.MustParsePrefix("fd00::/8")}, nil)
	}
	all := []nodeaddr.Address{{Addr: onA, Interface: "eth0"}, {Addr: onB, Interface: "eth1"}}
	for _, c := range []struct {
		name      string
		overview  *sync.Overview
		at        string
		kernel    Kernel
		protocols []frontend.Protocol
		state     State
		summary   string
		advice    string // begins with; "" is none at all
		shown     string // the protocols that are told of
	}{
		{
			name: "a Service", overview: overview(node()), at: "10.1.0.10:30080", kernel: has(tcp),
			state: Served, summary: "Service shop/web, served by 1 virtual server", shown: "TCP",
		},
		{
			name: "a Service that refuses", overview: overview(node(unready)), at: "10.1.0.10:30080", kernel: has(tcp),
			state: NoEndpoints, summary: "Service shop/web, served, but clients are refused", advice: "kube-ipvs explain service", shown: "TCP",
		},
		{
			name: "a Service with one protocol that refuses and one that does not", overview: overview(node(unready, beside)), at: "10.1.0.10:30080", kernel: has(tcp, udp),
			state: Served, summary: "Service shop/web, ", shown: "TCP UDP",
		},
		{
			name: "a Service with one protocol that does not refuse and one that does", overview: overview(node(beside, func(svc *sync.Service) {
				svc.Ports[1].Endpoints = nil
				svc.HealthCheckNodePort = 32000
			})), at: "10.1.0.10:30080", kernel: has(tcp, udp),
			state: Served, summary: "Service shop/web, ", shown: "TCP UDP",
		},
		{
			name: "a Service that lets nobody in", overview: overview(node(nobody)), at: "10.1.0.10:30080", kernel: has(tcp),
			state: Partly, summary: "Service shop/web, ", advice: "kube-ipvs explain service", shown: "TCP",
		},
		{
			name: "the same asked for one protocol", overview: overview(node(unready, beside)), at: "10.1.0.10:30080", kernel: has(tcp, udp), protocols: []frontend.Protocol{frontend.TCP},
			state: NoEndpoints, summary: "Service shop/web, served, but clients are refused", advice: "kube-ipvs explain service", shown: "TCP",
		},
		{
			name: "a Service, and one of others with another protocol", overview: overview(node()), at: "10.1.0.10:30080", kernel: has(tcp, udp),
			state: Served, summary: "Service shop/web, ", shown: "TCP UDP",
		},
		{
			name: "loopback, which the node has", overview: loopback(overview(node())), at: "127.0.0.1:30080", kernel: has(),
			state: NotServed, summary: "the address does not serve: ", advice: "Choose it",
		},
		{
			name: "the health check of a Service", overview: overview(node(func(svc *sync.Service) { svc.HealthCheckNodePort = 32000 })), at: "10.1.0.10:32000", kernel: has(),
			state: NoEndpoints, summary: "Service shop/web, its health check answers 503", advice: "kube-ipvs explain service", shown: "TCP",
		},
		{
			name: "what drains after its Service", overview: owned(overview(node()), frontend.NewKey(onA, frontend.TCP, 30099)), at: "10.1.0.10:30099",
			kernel: has(frontend.NewKey(onA, frontend.TCP, 30099)),
			state:  NotServed, summary: "ours, and no Service claims it any more", shown: "TCP",
		},
		{
			name: "what somebody else wrote", overview: overview(node()), at: "10.1.0.10:30099", kernel: has(frontend.NewKey(onA, frontend.TCP, 30099)),
			state: NotServed, summary: "a virtual server that is not ours", advice: "Find out who wrote it", shown: "TCP",
		},
		{
			name: "ours, without an agent", overview: sync.NewKernelOverview(filter.Rules{Owned: filter.NewSet(tcp)}, all, sync.Defaults{}), at: "10.1.0.10:30080", kernel: has(tcp),
			state: Served, summary: "ours, and served by the kernel: no agent runs here", shown: "TCP",
		},
		{
			name: "nothing, without an agent", overview: sync.NewKernelOverview(filter.Rules{}, all, sync.Defaults{}), at: "10.1.0.10:30080", kernel: has(),
			state: NotServed, summary: "the kernel has no virtual server there", advice: "Start the agent",
		},
		{
			name: "a Service of other networks", overview: overview(node(func(svc *sync.Service) { svc.Networks = networks(t, "10.1.0.0/16") })), at: "10.2.0.10:30080", kernel: has(),
			state: NotServed, summary: "Service shop/web has the port, and not on this address", advice: "kube-ipvs explain service",
		},
		{
			name: "nobody", overview: overview(node()), at: "10.1.0.10:30099", kernel: has(),
			state: NotServed, summary: "no Service claims the port", advice: "If one should",
		},
		{
			name: "an address that does not serve", overview: overview(node()), at: "192.168.7.1:30080", kernel: has(),
			state: NotServed, summary: "the address does not serve: not selected by --nodeport-addresses", advice: "Choose it",
		},
		{
			name: "an address of nobody", overview: overview(node()), at: "10.9.9.9:30080", kernel: has(),
			state: NotServed, summary: "the node has no such address", advice: "kube-ipvs status",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := ExplainAddress("node1", c.overview, netip.MustParseAddrPort(c.at), c.kernel, c.protocols...)
			if e.State != c.state || !strings.HasPrefix(e.Summary, c.summary) || !strings.HasPrefix(e.Advice, c.advice) || c.advice == "" && e.Advice != "" {
				t.Errorf("it is %q: %q, %q\nwant %q: %q, %q", e.State, e.Summary, e.Advice, c.state, c.summary, c.advice)
			}
			var shown []string
			for _, p := range e.Protocols {
				shown = append(shown, p.Protocol)
				if s := p.Service; s != nil && len(s.Ports) > 0 && (p.State != s.State || p.State != s.Ports[0].State) {
					t.Errorf("%s is %q, its Service %q, its port %q", p.Protocol, p.State, s.State, s.Ports[0].State)
				}
				if s := p.Service; s != nil && len(s.Ports) > 0 && (len(s.Ports) != 1 || len(s.Ports[0].Frontends) != 1 || s.HealthCheck != nil) {
					t.Errorf("%s is told of more than was asked for: %+v", p.Protocol, s)
				}
			}
			if got := strings.Join(shown, " "); got != c.shown {
				t.Errorf("told of are %q, want %q", got, c.shown)
			}
		})
	}
}

func networks(t *testing.T, terms ...string) *nodeaddr.Spec {
	t.Helper()
	spec, err := nodeaddr.ParseSpec(terms)
	if err != nil {
		t.Fatal(err)
	}
	return &spec
}

func loopback(o *sync.Overview) *sync.Overview {
	o.Rejected = append(o.Rejected, nodeaddr.Rejected{Address: nodeaddr.Address{Addr: netip.MustParseAddr("127.0.0.1"), Interface: "lo"}, Reason: "loopback"})
	return o
}
