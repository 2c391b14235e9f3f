package page

import (
	"cmp"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/kube-ipvs/kube-ipvs/report"
)

// pageSize is how many Services one page has, so that a node with thousands of them is read on a phone too.
const pageSize = 200

// longestSearch and mostTerms bound what one request costs.
const (
	longestSearch = 200
	mostTerms     = 8
)

// query is what of an overview somebody wants to see.
type query struct {
	Search string       // words that all have to be found
	State  report.State // empty for all
	Sort   string       // one of sorts
	Page   int          // from 1
	All    bool         // problems of which there are very many are all shown
}

// sorts are the orders, the default first.
func sorts() []string { return []string{"state", "name", "node port", "endpoints"} }

// states are those of Services, the worst first.
func states() []report.State {
	return []report.State{report.NotServed, report.NoEndpoints, report.Partly, report.Served}
}

// parseQuery takes for absent what it does not know: a link from another version shows something.
func parseQuery(v url.Values) query {
	q := query{Search: strings.TrimSpace(v.Get("q")), State: report.State(v.Get("state")), Sort: v.Get("sort"), All: v.Get("problems") == "all"}
	if runes := []rune(q.Search); len(runes) > longestSearch {
		q.Search = strings.TrimSpace(string(runes[:longestSearch]))
	}
	if !slices.Contains(states(), q.State) {
		q.State = ""
	}
	if !slices.Contains(sorts(), q.Sort) {
		q.Sort = sorts()[0]
	}
	page, _ := strconv.Atoi(v.Get("page"))
	q.Page = max(page, 1)
	return q
}

// Narrowed reports whether it asks for a part of the node, and not for its overview.
func (q query) Narrowed() bool { return q.Search != "" || q.State != "" || q.Page > 1 }

// link is a relative link to the same page with this query.
func (q query) link() string {
	v := url.Values{}
	for name, value := range map[string]string{"q": q.Search, "state": string(q.State)} {
		if value != "" {
			v.Set(name, value)
		}
	}
	if q.Sort != sorts()[0] {
		v.Set("sort", q.Sort)
	}
	if q.Page > 1 {
		v.Set("page", strconv.Itoa(q.Page))
	}
	if q.All {
		v.Set("problems", "all")
	}
	return "?" + v.Encode()
}

// search is what the words of the query find, whatever its state.
func (q query) search(all []report.ServiceStatus) []report.ServiceStatus {
	terms := parseTerms(q.Search)
	var found []report.ServiceStatus
	for _, svc := range all {
		if matches(terms, svc) {
			found = append(found, svc)
		}
	}
	return found
}

// pick is what of them is in the state that the query asks for, in its order.
func (q query) pick(all []report.ServiceStatus) []report.ServiceStatus {
	var found []report.ServiceStatus
	for _, svc := range all {
		if q.State == "" || svc.State == q.State {
			found = append(found, svc)
		}
	}
	slices.SortStableFunc(found, q.compare)
	return found
}

func (q query) compare(a, b report.ServiceStatus) int {
	byName := cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	switch q.Sort {
	case "state":
		return cmp.Or(cmp.Compare(slices.Index(states(), a.State), slices.Index(states(), b.State)), byName)
	case "node port":
		return cmp.Or(cmp.Compare(firstPort(a), firstPort(b)), byName)
	case "endpoints":
		return cmp.Or(cmp.Compare(inUse(a), inUse(b)), byName)
	}
	return byName
}

// firstPort is the lowest node port of a Service.
func firstPort(svc report.ServiceStatus) (lowest uint16) {
	for i, p := range svc.Ports {
		if i == 0 || p.NodePort < lowest {
			lowest = p.NodePort
		}
	}
	return lowest
}

func inUse(svc report.ServiceStatus) (sum int) {
	for _, p := range svc.Ports {
		sum += p.Endpoints
	}
	return sum
}

// term is one word of a search. An address is found however it is written.
type term struct {
	text string
	addr netip.Addr
	port uint16
}

func parseTerms(search string) []term {
	var terms []term
	for _, word := range strings.Fields(search) {
		t := term{text: strings.ToLower(word)}
		if at, err := netip.ParseAddrPort(word); err == nil {
			t.addr, t.port = at.Addr(), at.Port()
		} else if addr, err := netip.ParseAddr(strings.Trim(word, "[]")); err == nil {
			t.addr = addr
		}
		if terms = append(terms, t); len(terms) == mostTerms {
			break
		}
	}
	return terms
}

// matches reports whether one port of a Service has all terms, so that "30080 udp" means a port.
func matches(terms []term, svc report.ServiceStatus) bool {
	if len(terms) == 0 {
		return true
	}
	ports := svc.Ports
	if len(ports) == 0 {
		ports = []report.PortStatus{{State: svc.State}}
	}
	return slices.ContainsFunc(ports, func(p report.PortStatus) bool {
		words := wordsOf(svc, p)
		return !slices.ContainsFunc(terms, func(t term) bool { return !t.in(words, p) })
	})
}

func (t term) in(words string, p report.PortStatus) bool {
	if t.addr.IsValid() && (t.port == 0 || t.port == p.NodePort) && slices.Contains(p.Addresses, t.addr.String()) {
		return true
	}
	return strings.Contains(words, t.text)
}

// wordsOf is everything about a port that may be searched for, one a line: a term has no space, so it stays within one.
func wordsOf(svc report.ServiceStatus, p report.PortStatus) string {
	words := []string{svc.Namespace + "/" + svc.Name, string(p.State), p.Port, p.Protocol, p.Policy, p.Scheduler, p.Reason}
	if p.NodePort != 0 {
		words = append(words, strconv.Itoa(int(p.NodePort)))
	}
	words = append(words, p.Addresses...)
	for word, n := range map[string]int{"in-use": p.Endpoints, "draining": p.Draining, "unused": p.Others, "problem": svc.Problems} {
		if n > 0 {
			words = append(words, word)
		}
	}
	return strings.ToLower(strings.Join(words, "\n"))
}

// problemMatches reports whether a problem has all terms.
func problemMatches(terms []term, p report.Problem) bool {
	words := strings.ToLower(p.Object + "\n" + p.Reason + "\n" + p.Message)
	return !slices.ContainsFunc(terms, func(t term) bool { return !strings.Contains(words, t.text) })
}
