package pagetest

import (
	"strings"

	"github.com/kube-ipvs/kube-ipvs/report"
)

// Hostile is a node on which whoever writes manifests has tried what a page might fall for: every text of the document,
// and of the explanation, contains each of Attacks.
func Hostile() (report.Status, report.Explanation) {
	evil := strings.Join(Attacks(), " ")
	s, e := Troubled(), Explained()
	for i := range s.Addresses {
		s.Addresses[i].Interface, s.Addresses[i].Reason = evil, evil
	}
	for i := range s.Services {
		svc := &s.Services[i]
		svc.Namespace, svc.Name = evil, evil
		for j := range svc.Ports {
			p := &svc.Ports[j]
			p.Port, p.Scheduler, p.Reason, p.Policy, p.Protocol, p.Addresses = evil, evil, evil, evil, evil, []string{evil}
		}
	}
	s.Problems = append(s.Problems, report.Problem{Object: "Service " + evil + "/" + evil, Reason: "conflict"})
	for i := range s.Problems {
		s.Problems[i].Object, s.Problems[i].Message, s.Problems[i].Advice = "Service "+evil+"/"+evil, evil, evil
	}
	s.Node, s.Version, s.Source, s.Health.Reason, s.Health.Error, s.Foreign = evil, evil, evil, evil, evil, []string{evil}

	e.Node, e.Namespace, e.Name, e.Summary, e.Families, e.Networks, e.KernelUnknown = evil, evil, evil, evil, evil, evil, evil
	e.Allow, e.Deny, e.Addresses, e.Problems = []string{evil}, []string{evil}, s.Addresses, s.Problems
	for i := range e.Ports {
		p := &e.Ports[i]
		p.Port, p.Protocol, p.Policy, p.Scheduler, p.Reason = evil, evil, evil, evil, evil
		for j := range p.Frontends {
			f := &p.Frontends[j]
			f.Reason, f.Holder, f.Rivals, f.VirtualServer, f.Wanted, f.Pending, f.Waiting = evil, evil, []string{evil}, evil, "wanted "+evil, []string{evil}, evil
		}
		for j := range p.Endpoints {
			p.Endpoints[j].Target, p.Endpoints[j].Node, p.Endpoints[j].Reason, p.Endpoints[j].Use = evil, evil, evil, evil
		}
	}
	e.HealthCheck = &report.HealthCheck{Port: 1, Reason: evil, Addresses: []report.HealthCheckAnswer{{Address: evil, Answer: evil}}}
	e.Settings = []report.ExplainedSetting{{Name: evil, Written: evil, InForce: evil, Reason: evil}}
	return s, e
}

// Attacks are what a text may try: to become markup, to leave an attribute, to be a link that runs something, to hide, and to
// turn around what stands beside it.
func Attacks() []string {
	return []string{
		"<script>document.title='owned'</script>", `"><img src=x onerror=document.title='owned'>`, "' onmouseover='x", "javascript:x",
		"</style><script>x</script>", "{{.}}", "&lt;b", "--><b>", "../..", "a\x00b\x07c\x1b[31m", "left\u202eright", "\u2066isolated", "wide\u200bless", "\u0085", "\xff",
		"line\r\nX-Header: 1",
	}
}
