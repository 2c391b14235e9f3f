package page

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/kube-ipvs/kube-ipvs/report"
)

// problemGroup is the problems of one kind: what to do about them is said once.
type problemGroup struct {
	Badge          badge
	Reason, Advice string
	Total, Skipped int
	general        bool // some are of no Service
	Rows           []problemRow
	Hidden         int
	All            string // a link that shows them
}

type problemRow struct {
	report.Problem
	Namespace, Name string // of the Service that it is about, if that has a page
}

// groups are the problems that the query finds, those first for which something is not served.
func groups(s report.Status, q query) (found []problemGroup, total int) {
	services := make(map[string]report.ServiceStatus, len(s.Services))
	for _, svc := range s.Services {
		services["Service "+svc.Namespace+"/"+svc.Name] = svc
	}
	terms := parseTerms(q.Search)
	at := map[string]int{}
	for _, p := range s.Problems {
		if !problemMatches(terms, p) {
			continue
		}
		total++
		i, there := at[p.Reason]
		if !there {
			i = len(found)
			at[p.Reason] = i
			all := q
			all.All = true
			found = append(found, problemGroup{Reason: p.Reason, Advice: p.Advice, All: all.link() + "#problem-" + p.Reason})
		}
		found[i].add(p, services[p.Object], q.All)
	}
	slices.SortStableFunc(found, func(a, b problemGroup) int { return cmp.Compare(min(b.Skipped, 1), min(a.Skipped, 1)) })
	for i := range found {
		found[i].Badge = found[i].badge()
	}
	return found, total
}

func (g *problemGroup) add(p report.Problem, svc report.ServiceStatus, all bool) {
	g.Total++
	if p.Skipped || svc.State == report.NotServed {
		g.Skipped++
	}
	if !strings.HasPrefix(p.Object, "Service ") {
		g.general = true
	}
	if len(g.Rows) == mostProblems && !all {
		g.Hidden++
		return
	}
	g.Rows = append(g.Rows, problemRow{Problem: p, Namespace: svc.Namespace, Name: svc.Name})
}

// Mixed: each of the problems has to say whether something is not served because of it.
func (g problemGroup) Mixed() bool { return g.Skipped > 0 && g.Skipped < g.Total }

func (g problemGroup) badge() badge {
	switch g.Skipped {
	case 0:
		if g.general {
			return badge{warn, "nothing is left out for it"}
		}
		return badge{warn, "served all the same"}
	case g.Total:
		return badge{bad, "not served"}
	}
	return badge{bad, fmt.Sprintf("%s of %s not served", number(g.Skipped), number(g.Total))}
}
