package page

import (
	"strconv"

	"github.com/kube-ipvs/kube-ipvs/report"
)

// link leads to another part of the same page.
type link struct {
	Word, Href string
	Count      string // empty if it has none
	Current    bool
}

// filters lead to the Services in one state, of all that the search finds.
func filters(matching []report.ServiceStatus, q query) []link {
	count := map[report.State]int{}
	for _, svc := range matching {
		count[svc.State]++
	}
	links := []link{newLink("all", number(len(matching)), q, q.State == "", func(q *query) { q.State = "" })}
	for _, state := range states() {
		if count[state] > 0 || q.State == state {
			links = append(links, newLink(newBadge(state).Word, number(count[state]), q, q.State == state, func(q *query) { q.State = state }))
		}
	}
	return links
}

func orders(q query) []link {
	var links []link
	for _, sort := range sorts() {
		links = append(links, newLink(sort, "", q, q.Sort == sort, func(q *query) { q.Sort = sort }))
	}
	return links
}

// newLink changes one thing about the query, and goes back to the first page.
func newLink(word, count string, q query, current bool, change func(*query)) link {
	q.Page = 1
	change(&q)
	return link{Word: word, Count: count, Href: q.link() + "#services", Current: current}
}

// pager leads to the first, last and neighbouring pages; it is empty if there is one page only.
func pager(q query, pages int) []link {
	if pages == 1 {
		return nil
	}
	var links []link
	for n := 1; n <= pages; n++ {
		if n == 1 || n == pages || n >= q.Page-2 && n <= q.Page+2 {
			links = append(links, newLink(strconv.Itoa(n), "", q, n == q.Page, func(q *query) { q.Page = n }))
		}
	}
	return links
}
