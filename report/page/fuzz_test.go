package page

import (
	"net/http"
	"net/url"
	"slices"
	"testing"
	"unicode/utf8"
)

// FuzzQuery takes any query string: it is bounded, and a link of the page means the same again.
func FuzzQuery(f *testing.F) {
	for _, seed := range []string{
		"", "q=web&state=served&sort=name&page=3&problems=all", "q=%ff%00%e2%80%ae", "page=-1", "page=99999999999999999999", "q=[fd01::10]:30080",
		"sort=%3Cscript%3E", "q=a+b+c+d+e+f+g+h+i+j", "%zz", "q=1&q=2;state=x", "format=json", "q=%20%20x",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		values, err := url.ParseQuery(raw)
		if err != nil {
			return
		}
		q := parseQuery(values)
		if utf8.RuneCountInString(q.Search) > longestSearch || q.Page < 1 || !slices.Contains(sorts(), q.Sort) || q.State != "" && !slices.Contains(states(), q.State) {
			t.Fatalf("%q is read as %+v", raw, q)
		}
		if terms := parseTerms(q.Search); len(terms) > mostTerms {
			t.Errorf("%q has %d terms", raw, len(terms))
		}
		linked, err := url.Parse(q.link())
		if err != nil || linked.Host != "" || linked.Scheme != "" || linked.Path != "" {
			t.Fatalf("%q has the link %q: %v", raw, q.link(), err)
		}
		again := parseQuery(linked.Query())
		if again != q && utf8.ValidString(q.Search) {
			t.Errorf("%q is read as %+v, and its link as %+v", raw, q, again)
		}
	})
}

// FuzzAccept takes any wish for a format: there is an answer of one of the two kinds.
func FuzzAccept(f *testing.F) {
	f.Add("", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8")
	f.Add("json", "")
	f.Add("", ";,;,application/json;q=0")
	f.Fuzz(func(t *testing.T, format, accept string) {
		r := &http.Request{Method: http.MethodGet, URL: &url.URL{Path: "/statusz", RawQuery: url.Values{"format": {format}}.Encode()}, Header: http.Header{"Accept": {accept}}}
		if got := wantsJSON(r); format == "json" && !got || format == "html" && got {
			t.Errorf("format %q with Accept %q: JSON %v", format, accept, got)
		}
	})
}
