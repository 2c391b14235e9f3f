package pagetest

import (
	"time"

	"github.com/kube-ipvs/kube-ipvs/report"
	"github.com/kube-ipvs/kube-ipvs/sync"
)

// Explained is a Service with about everything that one can have.
func Explained() report.Explanation {
	return report.Explanation{
		Node: "worker-3", Time: Now(), Namespace: "dns", Name: "resolver", State: report.Partly,
		Summary:  "served in part (3 of 4 virtual servers): fd00:1::13: named (process 812) listens there",
		Families: "IPv4 and IPv6", Networks: "10.1.0.0/16, iface:eth0", Allow: []string{"10.0.0.0/8", "fd00::/8"}, Deny: []string{"10.66.0.0/16"},
		Addresses: []report.Address{
			{Address: "10.1.0.13", Interface: "eth0", Serves: true},
			{Address: "fd00:1::13", Interface: "eth0", Serves: true},
			{Address: "192.168.7.13", Interface: "eth1", Reason: "the Service's networks do not select it"},
		},
		Ports:       []report.ExplainedPort{explainedUDP(), explainedTCP()},
		HealthCheck: &report.HealthCheck{Port: 32111, Addresses: []report.HealthCheckAnswer{{Address: "10.1.0.13", Answer: "200: 2 ready endpoints on this node"}}},
		Settings: []report.ExplainedSetting{
			{Name: "kube-ipvs.io/scheduler", Written: "sh", InForce: "sh"},
			{Name: "kube-ipvs.io/drain-timeout", Written: "soon", Reason: "not a duration: write 30s or 5m"},
		},
		Problems: []report.Problem{
			{Object: "Service dns/resolver", Reason: string(sync.PortInUse), Message: "[fd00:1::13]:30053/tcp: named (process 812) listens there", Advice: sync.PortInUse.Advice(), Skipped: true},
			{Object: "Service dns/resolver", Reason: string(sync.Invalid), Message: `annotation kube-ipvs.io/drain-timeout "soon": write 30s or 5m`, Advice: sync.Invalid.Advice()},
		},
	}
}

func explainedUDP() report.ExplainedPort {
	return report.ExplainedPort{
		Port: "dns", ClusterPort: 53, NodePort: 30053, Protocol: "UDP", Policy: "Local", Scheduler: "sh", State: report.Served,
		Frontends: []report.ExplainedFrontend{
			{Address: "10.1.0.13", Served: true, Holder: "dns/resolver", Masquerade: "pods", InKernel: true, VirtualServer: "udp 10.1.0.13:30053 sh flag-1", Wanted: "udp 10.1.0.13:30053 sh flag-1"},
			{Address: "fd00:1::13", Served: true, Holder: "dns/resolver", Masquerade: "pods", InKernel: true, VirtualServer: "udp [fd00:1::13]:30053 sh flag-1", Wanted: "udp [fd00:1::13]:30053 sh flag-1"},
		},
		Endpoints: []report.ExplainedEndpoint{
			{Address: "10.244.3.7:53", Target: "dns/resolver-7d4b9c6f5-x2x8q", Node: "worker-3", Ready: true, Serving: true, Use: "in use", Reason: "ready, on this node", Virtuals: 1, Weight: 1, Active: 0, Inactive: 812},
			{Address: "10.244.1.9:53", Target: "dns/resolver-7d4b9c6f5-k9w2z", Node: "worker-1", Ready: true, Serving: true, Use: "not used", Reason: "on another node (externalTrafficPolicy: Local)"},
		},
	}
}

func explainedTCP() report.ExplainedPort {
	return report.ExplainedPort{
		Port: "dns-tcp", ClusterPort: 53, NodePort: 30053, Extra: true, Protocol: "TCP", Policy: "Local", Scheduler: "sh", State: report.Partly,
		Reason: "fd00:1::13: named (process 812) listens there",
		Frontends: []report.ExplainedFrontend{
			{
				Address: "10.1.0.13", Served: true, Holder: "dns/resolver", Rivals: []string{"default/legacy"}, Masquerade: "pods", InKernel: true, VirtualServer: "tcp 10.1.0.13:30053 sh flag-1", Wanted: "tcp 10.1.0.13:30053 sh flag-1",
				Pending: []string{"add real server 10.244.3.8:53 weight 1"}, Waiting: "add real server 10.244.3.8:53: no space left on device", Again: before(-12 * time.Second),
			},
			{Address: "fd00:1::13", Reason: "named (process 812) listens there", Holder: "dns/resolver", Masquerade: "none"},
		},
		Endpoints: []report.ExplainedEndpoint{
			{Address: "10.244.3.7:53", Target: "dns/resolver-7d4b9c6f5-x2x8q", Node: "worker-3", Ready: true, Serving: true, Use: "in use", Reason: "ready, on this node", Virtuals: 1, Weight: 1, Active: 12345, Inactive: 67},
			{Address: "10.244.3.6:53", Target: "dns/resolver-7d4b9c6f5-old11", Node: "worker-3", Serving: true, Terminating: true, Use: "draining", Reason: "it terminates; it keeps its connections until they end", Virtuals: 1, Active: 3, Inactive: 1, Since: before(95 * time.Second)},
		},
	}
}
