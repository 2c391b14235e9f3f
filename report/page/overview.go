package page

import (
	"strings"

	"github.com/kube-ipvs/kube-ipvs/report"
)

// Lists that are long only where something is wrong on a large scale are cut, and say so.
const (
	mostProblems  = 20 // of one kind
	mostForeign   = 100
	mostAddresses = 8 // of one port
)

// frame is what every page has around it.
type frame struct {
	Title string
	Level level
	// Home is a relative link to the overview; empty on it.
	Home string
}

// overview is what the page of a node shows.
type overview struct {
	frame
	report.Status
	Verdict badge
	Advice  string // what to do about the agent itself
	Failed  string // what failed last, if Health.Reason does not say it
	Made    *moment
	Synced  *moment
	Failing *moment
	Query   query
	// Filters and Orders are links; Pages are those to other pages of the list.
	Filters, Orders []link
	Pages           []link
	Found           int // Services, of which First to Last are on the page
	First, Last     int
	Rows            []serviceRow
	Problems        []problemGroup
	ProblemsFound   int
	Addresses       []addressRow
	Foreign         []string
	ForeignHidden   int
}

func newOverview(s report.Status, q query) overview {
	matching := q.search(s.Services)
	found := q.pick(matching)
	pages := max(1, (len(found)+pageSize-1)/pageSize)
	q.Page = min(q.Page, pages)
	first := (q.Page - 1) * pageSize
	last := min(first+pageSize, len(found))
	o := overview{
		frame: frame{Level: verdict(s).Level}, Status: s, Verdict: verdict(s), Advice: advice(s.Health),
		Made: newMoment(&s.Time, s.Time), Synced: newMoment(s.Health.Synced, s.Time), Failing: newMoment(s.Health.FailingSince, s.Time),
		Query: q, Filters: filters(matching, q), Orders: orders(q), Pages: pager(q, pages),
		Found: len(found), First: first + 1, Last: last, Foreign: s.Foreign,
	}
	if !strings.Contains(s.Health.Reason, s.Health.Error) {
		o.Failed = s.Health.Error
	}
	o.Title = s.Node + ": " + o.Verdict.Word
	for _, svc := range found[first:last] {
		o.Rows = append(o.Rows, newServiceRow(svc))
	}
	o.Problems, o.ProblemsFound = groups(s, q)
	for _, a := range s.Addresses {
		o.Addresses = append(o.Addresses, newAddressRow(a, s.Time))
	}
	if len(o.Foreign) > mostForeign {
		o.ForeignHidden = len(o.Foreign) - mostForeign
		o.Foreign = o.Foreign[:mostForeign]
	}
	return o
}
