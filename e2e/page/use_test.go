package page

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/kube-ipvs/kube-ipvs/report/page/pagetest"
)

// services is how many Services the page lists.
const services = "table.services tbody"

func TestSearchByTypingWithAndWithoutScripts(t *testing.T) {
	browser, address := start(t), serve(t, pagetest.Flood(2700), pagetest.Explained())+"/statusz"
	for _, scriptless := range []bool{false, true} {
		t.Run(fmt.Sprintf("scriptless=%v", scriptless), func(t *testing.T) {
			v := views()[2]
			v.scriptless = scriptless
			b := browser.open(t, v, address)
			for search, want := range map[string]int{
				"api-0042":             1,
				"31234":                1,
				"team-07/":             68,
				"nowhere":              0,
				"[fd00:1::13]:30002":   1,
				"10.1.0.13 team-01 rr": 68,
			} {
				b.run(chromedp.Navigate(address), chromedp.SendKeys("#q", search+kb.Enter), chromedp.WaitReady(fmt.Sprintf("#q[value=%q]", search)))
				if n := count(b, services); n != want {
					t.Errorf("%s finds %d Services, not %d", search, n, want)
				}
			}
		})
	}
}

// One who searches, goes on to a Service, and comes back.
func TestTheWayToAServiceAndBack(t *testing.T) {
	b := start(t).open(t, views()[2], serve(t, pagetest.Troubled(), pagetest.Explained())+"/statusz")
	if title := ask[string](b, "document.title"); !strings.Contains(title, "worker-3") || !strings.Contains(title, "problems") {
		t.Errorf("the title %q does not say node and health", title)
	}
	b.run(chromedp.SendKeys("#q", "resolver"+kb.Enter), chromedp.WaitReady(`a[href="statusz/dns/resolver"]`), chromedp.WaitReady(`a[href="?"]`),
		chromedp.Click(`.services a[href="statusz/dns/resolver"]`), chromedp.WaitReady("#port-2"))
	if title := ask[string](b, "document.title"); !strings.Contains(title, "dns/resolver") || !strings.Contains(title, "partly") {
		t.Errorf("the title %q does not say Service and state", title)
	}
	b.run(chromedp.Click(".crumbs a"), chromedp.WaitReady("#counters"))
	if path := ask[string](b, "location.pathname + location.search"); path != "/statusz" {
		t.Errorf("the way back ends at %s", path)
	}
}

func TestThousandsOfServicesAreReadPageByPage(t *testing.T) {
	b := start(t).open(t, views()[2], serve(t, pagetest.Flood(2700), pagetest.Explained())+"/statusz")
	seen := map[string]bool{}
	for n := 1; n <= 14; n++ {
		if n > 1 {
			b.run(chromedp.Click(fmt.Sprintf(`//nav[@aria-label="Pages of Services"]/a[text()="%d"]`, n)),
				chromedp.WaitReady(fmt.Sprintf(`//nav[@aria-label="Pages of Services"]/a[text()="%d" and @aria-current="page"]`, n)))
		}
		for _, name := range ask[[]string](b, "[...document.querySelectorAll('.services th a')].map(a => a.textContent)") {
			seen[name] = true
		}
	}
	if len(seen) != 2700 {
		t.Errorf("%d Services were seen on all pages", len(seen))
	}
}

func TestEveryLinkLeadsSomewhere(t *testing.T) {
	browser := start(t)
	for _, s := range scenes() {
		origin := serve(t, s.status, pagetest.Explained())
		b := browser.open(t, views()[0], origin+s.path)
		if s.name == "unknown" {
			b.complaints = nil // the browser's own, about 404
		}
		links := ask[[]string](b, "[...new Set([...document.links].map(a => a.href))]")
		if len(links) == 0 {
			t.Errorf("%s has no links", s.name)
		}
		for _, link := range links {
			if at, fragment, _ := strings.Cut(link, "#"); at == origin+s.path {
				if count(b, "#"+fragment) == 0 {
					t.Errorf("%s: nothing is at #%s", s.name, fragment)
				}
				continue
			}
			if code := get(t, link); !strings.HasPrefix(link, origin) || code != 200 {
				t.Errorf("%s: %s is answered %d", s.name, link, code)
			}
		}
	}
}
