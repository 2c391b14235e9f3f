package page_test

import (
	"fmt"
	"html"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/kube-ipvs/kube-ipvs/report"
	"github.com/kube-ipvs/kube-ipvs/report/page/pagetest"
)

// rows are the Services of a page, in its order.
var rows = regexp.MustCompile(`<th scope="rowgroup"[^>]*><a href="statusz/([^"]*)"`)

func listed(t *testing.T, s report.Status, query string) []string {
	t.Helper()
	var names []string
	for _, m := range rows.FindAllStringSubmatch(body(t, ask(node(s, pagetest.Explained()), "GET", "/statusz?"+query)), -1) {
		names = append(names, m[1])
	}
	return names
}

func TestSearch(t *testing.T) {
	const (
		checkout   = "shop/checkout"
		queue      = "shop/queue-of-the-warehouse-in-the-north-of-the-country"
		resolver   = "dns/resolver"
		unreadable = "default/unreadable"
	)
	for search, want := range map[string][]string{
		"checkout":                  {checkout},
		"SHOP/":                     {checkout, queue},
		"shop warehouse":            {queue},
		"warehouse dns":             nil,
		"30443":                     {checkout},
		"3044":                      {checkout},
		"30053":                     {resolver},
		"30053 udp":                 {resolver},
		"31567 udp":                 nil, // words mean one port
		"dns-tcp 10.1.0.13":         {resolver},
		"[fd00:1::13]:31567":        {queue},
		"fd00:0001:0::13 lc":        {queue},
		"[fd00:1::13]":              {queue, resolver, "team-00/api-0000", "team-01/api-0001", "team-02/api-0002"},
		"10.1.0.13:30053":           {resolver},
		"10.1.0.13:30443":           nil, // it is not served there
		"draining":                  {queue, resolver},
		"unused":                    {checkout, queue},
		"problem":                   {unreadable, checkout, resolver},
		"not served":                {unreadable, checkout},
		"no endpoints":              {queue},
		"legacy":                    {checkout}, // the reason names it
		"partly":                    {resolver},
		"wrr":                       {checkout},
		"local tcp":                 {checkout, resolver},
		strings.Repeat("x", 10_000): nil,
	} {
		if got := listed(t, pagetest.Troubled(), "q="+url.QueryEscape(search)); !slices.Equal(got, want) {
			t.Errorf("%.40s finds %q, not %q", search, got, want)
		}
	}
}

func TestFiltersAndOrders(t *testing.T) {
	for query, want := range map[string]string{
		"":                            "default/unreadable shop/checkout shop/queue-of-the-warehouse-in-the-north-of-the-country dns/resolver team-00/api-0000 team-01/api-0001 team-02/api-0002",
		"sort=name":                   "default/unreadable dns/resolver shop/checkout shop/queue-of-the-warehouse-in-the-north-of-the-country team-00/api-0000 team-01/api-0001 team-02/api-0002",
		"sort=node+port":              "default/unreadable team-00/api-0000 team-01/api-0001 team-02/api-0002 dns/resolver shop/checkout shop/queue-of-the-warehouse-in-the-north-of-the-country",
		"sort=endpoints":              "default/unreadable shop/checkout shop/queue-of-the-warehouse-in-the-north-of-the-country dns/resolver team-00/api-0000 team-01/api-0001 team-02/api-0002",
		"state=not+served":            "default/unreadable shop/checkout",
		"state=partly&q=dns":          "dns/resolver",
		"state=served&sort=name":      "team-00/api-0000 team-01/api-0001 team-02/api-0002",
		"state=served&page=99":        "team-00/api-0000 team-01/api-0001 team-02/api-0002",
		"state=new+one&page=-1&sort=": "default/unreadable shop/checkout shop/queue-of-the-warehouse-in-the-north-of-the-country dns/resolver team-00/api-0000 team-01/api-0001 team-02/api-0002",
	} {
		if got := strings.Join(listed(t, pagetest.Troubled(), query), " "); got != want {
			t.Errorf("%q lists\n%s\nnot\n%s", query, got, want)
		}
	}
}

// Whoever follows the links of the pages sees every Service once, in the order of his choice.
func TestPagesTogetherHaveEveryServiceOnce(t *testing.T) {
	for _, c := range []struct {
		query    string
		services int
		pages    int
	}{{"", 450, 3}, {"sort=name", 450, 3}, {"q=api-00", 100, 1}, {"state=served", 405, 3}, {"q=api-0&state=served&sort=node+port", 405, 3}} {
		var all []string
		for n := 1; n <= c.pages; n++ {
			got := listed(t, pagetest.Flood(450), fmt.Sprintf("%s&page=%d", c.query, n))
			if len(got) > 200 || len(got) == 0 {
				t.Errorf("page %d of %q has %d Services", n, c.query, len(got))
			}
			all = append(all, got...)
		}
		shown := len(all)
		slices.Sort(all)
		if all = slices.Compact(all); len(all) != c.services || shown != c.services {
			t.Errorf("%d pages of %q show %d Services, %d different ones, not %d", c.pages, c.query, shown, len(all), c.services)
		}
		text := body(t, ask(node(pagetest.Flood(450), pagetest.Explained()), "GET", "/statusz?"+c.query))
		last := fmt.Sprintf(`page=%d`, c.pages)
		if c.pages > 1 && !strings.Contains(html.UnescapeString(text), last) || strings.Contains(html.UnescapeString(text), fmt.Sprintf(`page=%d`, c.pages+1)) {
			t.Errorf("the last link of %q is not %s", c.query, last)
		}
	}
}

// A link changes one thing and keeps the rest of what was asked for.
func TestLinksKeepTheRestOfTheQuery(t *testing.T) {
	text := html.UnescapeString(body(t, ask(node(pagetest.Flood(800), pagetest.Explained()), "GET", "/statusz?q=team&state=served&sort=name&page=3")))
	for _, want := range []string{
		`href="?q=team&sort=name#services"`,
		`href="?q=team&sort=name&state=not+served#services"`,
		`href="?q=team&sort=node+port&state=served#services"`,
		`href="?q=team&state=served#services"`,
		`href="?page=4&q=team&sort=name&state=served#services"`,
		`href="?q=team&sort=name&state=served#services"`,
		`href="?"`,
		`<input type="hidden" name="state" value="served">`,
		`<input type="hidden" name="sort" value="name">`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("there is no %s", want)
		}
	}
}
