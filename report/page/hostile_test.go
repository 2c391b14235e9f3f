package page_test

import (
	"context"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/kube-ipvs/kube-ipvs/report"
	"github.com/kube-ipvs/kube-ipvs/report/page"
	"github.com/kube-ipvs/kube-ipvs/report/page/pagetest"
)

// tag is markup: everything else of a page is text, in which there is no < of others.
var tag = regexp.MustCompile(`<[^>]*>`)

func TestHostileTextsAreShownAndDoNothing(t *testing.T) {
	status, explained := pagetest.Hostile()
	quiet := node(pagetest.Quiet(1), pagetest.Explained())
	h := page.Handler(
		func(context.Context) (report.Status, error) { return status, nil },
		func(context.Context, string, string) (report.Explanation, bool, error) { return explained, true, nil })
	search := url.QueryEscape(strings.Join(pagetest.Attacks(), " "))
	for name, r := range map[string]*http.Response{
		"overview": ask(h, "GET", "/statusz"), "service": ask(h, "GET", "/statusz/a/b"), "search": ask(quiet, "GET", "/statusz?q="+search),
		"state": ask(quiet, "GET", "/statusz?sort="+search+"&state="+search), "unknown": ask(quiet, "GET", "/statusz/a/"+url.PathEscape("\"><script>\x00\u202e")),
	} {
		text := body(t, r)
		if !utf8.ValidString(text) {
			t.Errorf("%s: not UTF-8", name)
		}
		for _, r := range text {
			if r != '\n' && r != '\t' && !unicode.IsPrint(r) {
				t.Errorf("%s: %U is in the page", name, r)
			}
		}
		for _, markup := range tag.FindAllString(text, -1) {
			lower := strings.ToLower(html.UnescapeString(markup))
			if strings.HasPrefix(lower, "<script") || strings.HasPrefix(lower, "<img") || regexp.MustCompile(`\son\w+=`).MatchString(regexp.MustCompile(`"[^"]*"`).ReplaceAllString(markup, "")) {
				t.Errorf("%s: markup of others: %s", name, markup)
			}
			if href, is := strings.CutPrefix(markup, `<a href="`); is && !strings.HasPrefix(href, "statusz/") && !strings.HasPrefix(href, "?") && !strings.HasPrefix(href, "#") && !strings.HasPrefix(href, "../") {
				t.Errorf("%s: a link elsewhere: %s", name, markup)
			}
		}
		if name == "overview" && !strings.Contains(text, "&lt;script&gt;document.title=") {
			t.Errorf("%s: the texts are not shown", name)
		}
	}
}

// A name may be anything in a manifest: its link leads to its page all the same, or is none.
func TestLinksLeadToServicesOfAnyName(t *testing.T) {
	for _, name := range append(pagetest.Attacks(), "a/b", "a//b", "../x", "x?y#z", "100%", "ü", ".", "..", "web") {
		status := pagetest.Quiet(1)
		status.Services[0].Namespace, status.Services[0].Name = "n", name
		var asked string
		h := page.Handler(
			func(context.Context) (report.Status, error) { return status, nil },
			func(_ context.Context, namespace, name string) (report.Explanation, bool, error) {
				asked = namespace + "/" + name
				return pagetest.Explained(), true, nil
			})
		found := regexp.MustCompile(`<a href="(statusz/[^"]*)"`).FindStringSubmatch(body(t, ask(h, "GET", "/statusz")))
		if name == "." || name == ".." {
			if found != nil {
				t.Errorf("%q has the link %s, which leads up", name, found[1])
			}
			continue
		}
		if found == nil {
			t.Errorf("%q has no link", name)
			continue
		}
		r := ask(h, "GET", "/"+html.UnescapeString(found[1]))
		if r.StatusCode != http.StatusOK || asked != "n/"+name {
			t.Errorf("%q has the link %s, which is answered %d about %q", name, found[1], r.StatusCode, asked)
		}
	}
}
