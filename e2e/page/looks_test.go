package page

import (
	_ "embed"
	"net/url"
	"strings"
	"testing"

	"github.com/kube-ipvs/kube-ipvs/report"
	"github.com/kube-ipvs/kube-ipvs/report/page/pagetest"
)

//go:embed audit.js
var audit string

// check asks one of the questions of audit.js, which leaves no name behind in the page.
func check(question string) string { return "(() => {" + audit + "; return " + question + "})()" }

// scene is a page with something on it.
type scene struct {
	name   string
	path   string
	status report.Status
}

func scenes() []scene {
	hostile, _ := pagetest.Hostile()
	return []scene{
		{"empty", "/statusz", pagetest.Quiet(0)},
		{"quiet", "/statusz", pagetest.Quiet(3)},
		{"troubled", "/statusz", pagetest.Troubled()},
		{"failing", "/statusz", pagetest.Failing()},
		{"flood", "/statusz", pagetest.Flood(2700)},
		{"found", "/statusz?q=api-00", pagetest.Flood(2700)},
		{"nothing", "/statusz?q=nowhere", pagetest.Quiet(3)},
		{"hostile", "/statusz", hostile},
		{"service", "/statusz/dns/resolver", pagetest.Quiet(3)},
		{"unknown", "/statusz/gone/web", pagetest.Quiet(3)},
	}
}

// Four ways of looking at every scene: nothing overflows, all text can be read, everything has a name.
func TestEveryPageIsReadableOnAPhoneInTheDarkAndWithoutEyes(t *testing.T) {
	browser := start(t)
	_, evil := pagetest.Hostile()
	for _, s := range append(scenes(), scene{"hostile-service", "/statusz/a/b", pagetest.Quiet(0)}) {
		explained := pagetest.Explained()
		if s.name == "hostile-service" {
			explained = evil
		}
		address := serve(t, s.status, explained) + s.path
		for _, v := range views() {
			t.Run(s.name+"/"+v.name, func(t *testing.T) {
				b := browser.open(t, v, address)
				b.picture(s.name + "-" + v.name)
				if s.name == "unknown" {
					b.complaints = nil // the browser's own, about 404
				}
				if is := ask[float64](b, "document.documentElement.scrollWidth"); is > float64(v.width) {
					t.Errorf("the page is %v wide on a screen of %d: %v", is, v.width, ask[[]string](b, check("overflow()")))
				}
				none(t, "text that is hard to read", ask[[]string](b, check("contrast(7)")))
				none(t, "what somebody cannot find who does not see it", ask[[]string](b, check("names()")))
				if v.phone {
					none(t, "what a finger does not hit", ask[[]string](b, check("targets(24)")))
				}
			})
		}
	}
}

func TestDarkModeIsDarkAndLightModeIsLight(t *testing.T) {
	browser, address := start(t), serve(t, pagetest.Quiet(3), pagetest.Explained())+"/statusz"
	for _, v := range views() {
		b := browser.open(t, v, address)
		if l := ask[float64](b, check("luminance(backdrop(document.querySelector('h1')))")); (l < .1) != v.dark {
			t.Errorf("%s: the luminance of the page is %.2f", v.name, l)
		}
	}
}

// What was tried is shown as text: no element, no attribute and no title of it.
func TestHostileTextStaysText(t *testing.T) {
	status, explained := pagetest.Hostile()
	browser, address := start(t), serve(t, status, explained)
	for _, path := range []string{"/statusz", "/statusz/a/b", "/statusz?q=" + url.QueryEscape(strings.Join(pagetest.Attacks(), " "))} {
		b := browser.open(t, views()[0], address+path)
		if n := count(b, "script, img, [onerror], [onmouseover], section b b, header style"); n != 0 {
			t.Errorf("%s: %d elements came out of texts", path, n)
		}
		none(t, path+": links elsewhere", ask[[]string](b, check("abroad()")))
		text := ask[string](b, "document.title + document.body.innerText")
		if strings.ContainsAny(text, "\x00\x07\x1b\u202e\u2066\u200b\u0085") || !strings.Contains(text, `left\u202eright`) || !strings.Contains(text, "<script>document.title='owned'</script>") {
			t.Errorf("%s: what hides is not shown as Go writes it: %q", path, text[:min(len(text), 600)])
		}
	}
}
