package kube

import (
	"fmt"
	"strings"

	"github.com/kube-ipvs/kube-ipvs/sync"
)

// render writes an Update as the text that golden files hold.
func render(u sync.Update) string {
	var b strings.Builder
	if u.Incomplete {
		b.WriteString("incomplete\n")
	}
	if n := u.Node; n != nil {
		fmt.Fprintf(&b, "node %s internal=%v external=%v", n.Name, n.InternalIPs, n.ExternalIPs)
		if len(n.PodCIDRs) > 0 {
			fmt.Fprintf(&b, " pods=%v", n.PodCIDRs)
		}
		if n.Ineligible != "" {
			fmt.Fprintf(&b, " ineligible: %s", n.Ineligible)
		}
		b.WriteByte('\n')
	}
	for _, s := range u.Services {
		b.WriteString(renderService(s))
	}
	for _, p := range u.Problems {
		b.WriteString(renderProblem(p))
	}
	return b.String()
}

func renderService(s sync.Service) string {
	var b strings.Builder
	fmt.Fprintf(&b, "service %s\n", s.ID)
	for _, p := range s.Ports {
		fmt.Fprintf(&b, "  %d/%s port=%d name=%q %s", p.NodePort, p.Protocol, p.Port, p.Name, p.Policy)
		if p.Scheduler != "" {
			fmt.Fprintf(&b, " scheduler=%s", p.Scheduler)
		}
		if a := p.Affinity; a.Timeout != 0 {
			fmt.Fprintf(&b, " affinity=%s/%d/%d", a.Timeout, a.Prefix4, a.Prefix6)
		}
		b.WriteByte('\n')
		for _, e := range p.Endpoints {
			fmt.Fprintf(&b, "    %s%s%s", e.Addr, conditions(e), hints(e))
			if e.Node != "" {
				fmt.Fprintf(&b, " on %s", e.Node)
			}
			if e.Target != "" {
				fmt.Fprintf(&b, " (%s)", e.Target)
			}
			b.WriteByte('\n')
		}
	}
	if s.HealthCheckNodePort != 0 {
		fmt.Fprintf(&b, "  health check %d ready here=%v\n", s.HealthCheckNodePort, s.LocalReady)
	}
	for _, p := range s.Problems {
		b.WriteString("  " + renderProblem(p))
	}
	return b.String()
}

func conditions(e sync.Endpoint) string {
	text := ""
	for _, c := range []struct {
		name string
		is   bool
	}{{"local", e.Local}, {"ready", e.Ready}, {"serving", e.Serving}, {"terminating", e.Terminating}} {
		if c.is {
			text += " " + c.name
		}
	}
	return text
}

func renderProblem(p sync.Problem) string {
	skipped := ""
	if p.Skipped {
		skipped = ", skipped"
	}
	return fmt.Sprintf("problem [%s%s] %s\n", p.Reason, skipped, p)
}

func hints(e sync.Endpoint) string {
	names := map[sync.Hint]string{sync.NoHint: "", sync.Here: "=here", sync.Elsewhere: "=elsewhere"}
	text := ""
	if name := names[e.NodeHint]; name != "" {
		text += " node" + name
	}
	if name := names[e.ZoneHint]; name != "" {
		text += " zone" + name
	}
	return text
}
