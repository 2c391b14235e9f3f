package sync

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

// passReport collects what one pass did.
type passReport struct {
	sync                             bool    // something came, or an audit was due
	errs                             []error // of the pass as a whole
	frontendErrs                     []error // confined to frontends, which are postponed
	done                             map[ipvs.Verb]int
	refused                          map[ipvs.Verb]int
	transactions, failedTransactions int
	drift                            int
	flows                            int  // stale ones, deleted
	silent                           bool // IPVS did not answer a question about one virtual server
}

func (p *passReport) fail(err error) { p.errs = append(p.errs, err) }

func (p *passReport) failFrontends(err error) { p.frontendErrs = append(p.frontendErrs, err) }

// err is everything that failed.
func (p *passReport) err() error { return summarize(slices.Concat(p.errs, p.frontendErrs)) }

func (p *passReport) add(result ipvs.Result) {
	if p.done == nil {
		p.done, p.refused = map[ipvs.Verb]int{}, map[ipvs.Verb]int{}
	}
	for _, op := range result.Done {
		p.done[op.Verb]++
	}
	for _, e := range result.Failed {
		p.refused[e.Op.Verb]++
	}
}

func (p *passReport) transaction(err error) {
	p.transactions++
	if err != nil {
		p.failedTransactions++
	}
}

// operations is how many the pass asked the kernel for on the IPVS table.
func (p *passReport) operations() int {
	sum := 0
	for _, count := range []map[ipvs.Verb]int{p.done, p.refused} {
		for _, n := range count {
			sum += n
		}
	}
	return sum
}

// changed reports whether the pass wrote anything.
func (p *passReport) changed() bool {
	return p.transactions > 0 || len(p.done) > 0 || len(p.refused) > 0 || p.drift > 0 || p.flows > 0
}

// counts is a text such as "add-virtual 2, add-real 7" in the order of the verbs; "none" if there are none.
func counts(done map[ipvs.Verb]int) string {
	var texts []string
	for _, verb := range ipvs.Verbs() {
		if n := done[verb]; n > 0 {
			texts = append(texts, fmt.Sprintf("%s %d", verb, n))
		}
	}
	if len(texts) == 0 {
		return "none"
	}
	return strings.Join(texts, ", ")
}

// summarize joins the first few of many errors.
func summarize(errs []error) error {
	const most = 5
	if len(errs) > most {
		errs = append(errs[:most:most], fmt.Errorf("and %d more", len(errs)-most))
	}
	return errors.Join(errs...)
}
