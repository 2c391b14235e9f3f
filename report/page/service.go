package page

import (
	"fmt"
	"strings"

	"github.com/kube-ipvs/kube-ipvs/report"
)

// mostEndpoints of a port are shown.
const mostEndpoints = 300

// service is what the page of a Service shows.
type service struct {
	frame
	report.Explanation
	Badge     badge
	Made      *moment
	Addresses []addressRow
	Ports     []explainedPort
	Problems  []problemGroup
}

type explainedPort struct {
	report.ExplainedPort
	ID        string // of its heading
	Badge     badge
	Frontends []explainedFrontend
	Endpoints []explainedEndpoint
	Hidden    int // endpoints that are not shown
}

type explainedFrontend struct {
	report.ExplainedFrontend
	Badge badge
	Again *moment
}

type explainedEndpoint struct {
	report.ExplainedEndpoint
	Badge badge
	Since *moment
}

// Conditions are those of the EndpointSlice in its own words.
func (e explainedEndpoint) Conditions() string {
	var have []string
	for _, c := range []struct {
		holds bool
		word  string
	}{{e.Ready, "ready"}, {e.Serving, "serving"}, {e.Terminating, "terminating"}} {
		if c.holds {
			have = append(have, c.word)
		}
	}
	if len(have) == 0 {
		return "none"
	}
	return strings.Join(have, ", ")
}

func newService(e report.Explanation) service {
	s := service{
		frame:       frame{Title: e.Namespace + "/" + e.Name + " on " + e.Node + ": " + newBadge(e.State).Word, Level: newBadge(e.State).Level, Home: "../../statusz"},
		Explanation: e, Badge: newBadge(e.State), Made: newMoment(&e.Time, e.Time),
	}
	for _, a := range e.Addresses {
		s.Addresses = append(s.Addresses, newAddressRow(a, e.Time))
	}
	for i, p := range e.Ports {
		s.Ports = append(s.Ports, newExplainedPort(e, p, fmt.Sprintf("port-%d", i+1)))
	}
	s.Problems, _ = groups(report.Status{Problems: e.Problems}, query{All: true})
	return s
}

func newExplainedPort(e report.Explanation, p report.ExplainedPort, id string) explainedPort {
	port := explainedPort{ExplainedPort: p, ID: id, Badge: newBadge(p.State)}
	for _, f := range p.Frontends {
		b := badge{good, "served"}
		switch {
		case !f.Served:
			b = badge{bad, "not served"}
		case f.Reason != "" || f.Internal || f.Waiting != "":
			b = badge{warn, "served in part"}
		case len(f.Pending) > 0:
			b = badge{warn, "soon as it should be"}
		}
		port.Frontends = append(port.Frontends, explainedFrontend{f, b, newMoment(f.Again, e.Time)})
	}
	shown := p.Endpoints[:min(len(p.Endpoints), mostEndpoints)]
	port.Hidden = len(p.Endpoints) - len(shown)
	for _, ep := range shown {
		b := badge{warn, ep.Use}
		switch ep.Use {
		case "in use":
			b.Level = good
		case "not used":
			b.Level = off
		}
		port.Endpoints = append(port.Endpoints, explainedEndpoint{ep, b, newMoment(ep.Since, e.Time)})
	}
	return port
}

// problemList is what the template of problems takes.
type problemList struct {
	Groups []problemGroup
	Links  bool // Services have a page beside this one
}

// ProblemList has no links: it is about this Service.
func (s service) ProblemList() problemList { return problemList{Groups: s.Problems} }

// ProblemList leads to the Services.
func (o overview) ProblemList() problemList { return problemList{Groups: o.Problems, Links: true} }
