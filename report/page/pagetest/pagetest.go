// Package pagetest has made-up documents for the tests of pages: nothing in them is of a real node.
package pagetest

import (
	"fmt"
	"time"

	"github.com/kube-ipvs/kube-ipvs/report"
	"github.com/kube-ipvs/kube-ipvs/sync"
)

// Now is when all documents were made.
func Now() time.Time { return time.Date(2026, 3, 29, 3, 4, 5, 0, time.UTC) }

func before(d time.Duration) *time.Time {
	t := Now().Add(-d)
	return &t
}

// Quiet is a node on which all is well, with n Services.
func Quiet(n int) report.Status {
	s := report.Status{
		Node: "worker-3", Version: "v1.0.0", Time: Now(), Source: "API server https://10.0.0.1:6443",
		Health: report.Health{Ready: true, Alive: true, Synced: before(4 * time.Second)},
		Addresses: []report.Address{
			{Address: "10.1.0.13", Interface: "eth0", Serves: true},
			{Address: "fd00:1::13", Interface: "eth0", Serves: true},
			{Address: "192.168.7.13", Interface: "eth1", Reason: "no entry of --nodeport-addresses selects it"},
		},
		Services: []report.ServiceStatus{}, Foreign: []string{}, Problems: []report.Problem{},
		Totals: report.Totals{Passes: 18234, Operations: 5120, DriftRepaired: 2, BusySeconds: 93.25},
	}
	for i := range n {
		s.Services = append(s.Services, served(fmt.Sprintf("team-%02d", i%40), fmt.Sprintf("api-%04d", i), uint16(30000+i)))
	}
	s.Totals.Services, s.Totals.Served, s.Totals.VirtualServers, s.Totals.RealServers = n, n, 2*n, 20*n
	return s
}

func served(namespace, name string, port uint16) report.ServiceStatus {
	return report.ServiceStatus{Namespace: namespace, Name: name, State: report.Served, Ports: []report.PortStatus{{
		Port: "http", NodePort: port, Protocol: "TCP", Policy: "Cluster", Scheduler: "rr", State: report.Served,
		Addresses: []string{"10.1.0.13", "fd00:1::13"}, Endpoints: 10,
	}}}
}

// Troubled is a node with a problem of every kind, and Services in every state.
func Troubled() report.Status {
	s := Quiet(3)
	s.Addresses = append(s.Addresses, report.Address{
		Address: "10.9.0.1", Interface: "", Serves: true, Reason: "the node lost it a moment ago: its connections are kept in case it comes back", Until: before(-48 * time.Second),
	})
	s.Foreign = []string{"10.1.0.13:31999/tcp", "[fd00:1::13]:31999/tcp"}
	s.Services = append(s.Services,
		report.ServiceStatus{Namespace: "shop", Name: "checkout", State: report.NotServed, Problems: 1, Ports: []report.PortStatus{{
			Port: "https", NodePort: 30443, Protocol: "TCP", Policy: "Local", Scheduler: "wrr", State: report.NotServed, Addresses: []string{},
			Others: 4, Reason: "10.1.0.13: Service default/legacy holds the port",
		}}},
		report.ServiceStatus{Namespace: "shop", Name: "queue-of-the-warehouse-in-the-north-of-the-country", State: report.NoEndpoints, Ports: []report.PortStatus{{
			Port: "amqp", NodePort: 31567, Protocol: "TCP", Policy: "Cluster", Scheduler: "lc", State: report.NoEndpoints,
			Addresses: []string{"10.1.0.13", "fd00:1::13"}, Draining: 2, Others: 3, Reason: "none of 3 endpoints is ready",
		}}},
		report.ServiceStatus{Namespace: "dns", Name: "resolver", State: report.Partly, Problems: 1, Ports: []report.PortStatus{
			{
				Port: "dns", NodePort: 30053, Protocol: "UDP", Policy: "Local", Scheduler: "sh", State: report.Served,
				Addresses: []string{"10.1.0.13", "fd00:1::13"}, Endpoints: 2,
			},
			{
				Port: "dns-tcp", NodePort: 30053, Protocol: "TCP", Policy: "Local", Scheduler: "sh", State: report.Partly, Extra: true,
				Addresses: []string{"10.1.0.13"}, Endpoints: 2, Draining: 1, Reason: "fd00:1::13: named (process 812) listens there",
			},
		}},
		report.ServiceStatus{Namespace: "default", Name: "unreadable", State: report.NotServed, Problems: 1, Ports: []report.PortStatus{{
			Port: "0", Protocol: "TCP", State: report.NotServed, Addresses: []string{}, Reason: "port 3 has no node port",
		}}},
	)
	for _, reason := range sync.Reasons() {
		s.Problems = append(s.Problems, report.Problem{
			Object: "Service shop/checkout", Reason: string(reason), Advice: reason.Advice(), Skipped: reason == sync.Conflict || reason == sync.Invalid,
			Message: "something of kind " + string(reason) + " is not as it was written",
		})
	}
	s.Totals.Services, s.Totals.Served, s.Totals.Conflicts, s.Totals.Draining = len(s.Services), len(s.Services)-2, 2, 3
	return s
}

// Failing is a node whose agent cannot do its work.
func Failing() report.Status {
	s := Quiet(3)
	s.Health = report.Health{
		Alive: true, Reason: "failing since 2026-03-29T02:51:05Z: write to IPVS: operation not permitted",
		Synced: before(13*time.Minute + 4*time.Second), FailingSince: before(13 * time.Minute), Error: "write to IPVS: operation not permitted",
	}
	s.Totals.FailedPasses, s.Totals.Refused = 26, 26
	return s
}

// Flood is a node of n Services on which a great deal goes wrong: each tenth has a problem.
func Flood(n int) report.Status {
	s := Quiet(n)
	for i := range s.Services {
		if i%10 != 0 {
			continue
		}
		svc := &s.Services[i]
		svc.State, svc.Problems = report.NotServed, 1
		svc.Ports[0].State, svc.Ports[0].Addresses, svc.Ports[0].Reason = report.NotServed, []string{}, "10.1.0.13: Service default/legacy holds the port"
		s.Problems = append(s.Problems, report.Problem{
			Object: "Service " + svc.Namespace + "/" + svc.Name, Reason: string(sync.Conflict), Advice: sync.Conflict.Advice(), Skipped: true,
			Message: fmt.Sprintf("node port %d/tcp is held by Service default/legacy, which is older", svc.Ports[0].NodePort),
		})
	}
	s.Totals.Served -= len(s.Problems)
	s.Totals.Conflicts = len(s.Problems)
	return s
}
