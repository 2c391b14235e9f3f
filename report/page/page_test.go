package page_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kube-ipvs/kube-ipvs/report"
	"github.com/kube-ipvs/kube-ipvs/report/page"
	"github.com/kube-ipvs/kube-ipvs/report/page/pagetest"
)

// node serves the pages of a node with one Service, which is known by its name.
func node(s report.Status, e report.Explanation) http.Handler {
	return page.Handler(
		func(context.Context) (report.Status, error) { return s, nil },
		func(_ context.Context, namespace, name string) (report.Explanation, bool, error) {
			return e, namespace == e.Namespace && name == e.Name, nil
		})
}

func ask(h http.Handler, method, target string, header ...string) *http.Response {
	request := httptest.NewRequest(method, target, http.NoBody)
	for i := 0; i+1 < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, request)
	return w.Result()
}

func body(t *testing.T, r *http.Response) string {
	t.Helper()
	var b strings.Builder
	if err := r.Write(&b); err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(b.String(), "\r\n\r\n")
	return text
}

// Each testdata/NAME.html is a page as browsers get it, but for its style. UPDATE_GOLDEN=1 writes them: open them, and read
// the diff.
func TestPagesAreThoseOfTheGoldenFiles(t *testing.T) {
	for name, c := range map[string]struct {
		target string
		status report.Status
	}{
		"quiet":    {"/statusz", pagetest.Quiet(1)},
		"empty":    {"/statusz", pagetest.Quiet(0)},
		"troubled": {"/statusz", pagetest.Troubled()},
		"failing":  {"/statusz?state=no+endpoints", pagetest.Failing()},
		"found":    {"/statusz?q=tcp&sort=name", pagetest.Troubled()},
		"service":  {"/statusz/dns/resolver", pagetest.Quiet(0)},
		"unknown":  {"/statusz/dns/unknown", pagetest.Quiet(0)},
	} {
		t.Run(name, func(t *testing.T) {
			got := body(t, ask(node(c.status, pagetest.Explained()), "GET", c.target))
			before, rest, _ := strings.Cut(got, "<style>")
			_, after, _ := strings.Cut(rest, "</style>")
			got = before + "<style></style>" + after
			path := filepath.Join("testdata", name+".html")
			if os.Getenv("UPDATE_GOLDEN") != "" {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("%s (-file +page), UPDATE_GOLDEN=1 writes it:\n%s", path, diff)
			}
		})
	}
}

func TestProgramsGetTheDocumentAndBrowsersAPage(t *testing.T) {
	h := node(pagetest.Troubled(), pagetest.Explained())
	for _, c := range []struct {
		query, accept string
		json          bool
	}{
		{"", "", false},
		{"", "*/*", false},
		{"", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", false},
		{"", "application/json", true},
		{"", "application/json;charset=utf-8, text/html", true},
		{"", "text/html, application/json", false},
		{"?format=json", "text/html", true},
		{"?format=html", "application/json", false},
	} {
		for _, path := range []string{"/statusz", "/statusz/dns/resolver", "/statusz/dns/unknown"} {
			r := ask(h, "GET", path+c.query, "Accept", c.accept)
			if is := r.Header.Get("Content-Type") == "application/json"; is != c.json {
				t.Errorf("%s%s with Accept %q is %s", path, c.query, c.accept, r.Header.Get("Content-Type"))
			}
		}
	}
	var status report.Status
	if err := json.Unmarshal([]byte(body(t, ask(h, "GET", "/statusz?format=json&q=nothing"))), &status); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(pagetest.Troubled(), status); diff != "" {
		t.Errorf("the document is not itself (-want +got):\n%s", diff)
	}
	var explanation report.Explanation
	if err := json.Unmarshal([]byte(body(t, ask(h, "GET", "/statusz/dns/resolver?format=json"))), &explanation); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(pagetest.Explained(), explanation); diff != "" {
		t.Errorf("the document is not itself (-want +got):\n%s", diff)
	}
	failure := map[string]string{}
	if err := json.Unmarshal([]byte(body(t, ask(h, "GET", "/statusz/dns/unknown?format=json"))), &failure); err != nil {
		t.Fatal(err)
	}
	if len(failure) != 2 || failure["error"] == "" || failure["advice"] == "" {
		t.Errorf("a failure is %v", failure)
	}
}

func TestOnlyReadingIsAllowed(t *testing.T) {
	h := node(pagetest.Quiet(1), pagetest.Explained())
	for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"} {
		for _, path := range []string{"/statusz", "/statusz/dns/resolver"} {
			if r := ask(h, method, path); r.StatusCode != http.StatusMethodNotAllowed || !strings.Contains(r.Header.Get("Allow"), "GET") {
				t.Errorf("%s %s is answered %d, allowing %q", method, path, r.StatusCode, r.Header.Get("Allow"))
			}
		}
	}
	if r := ask(h, "HEAD", "/statusz"); r.StatusCode != http.StatusOK {
		t.Errorf("HEAD is answered %d", r.StatusCode)
	}
}

func TestEveryAnswerForbidsWhatAPageDoesNotNeed(t *testing.T) {
	h := node(pagetest.Quiet(1), pagetest.Explained())
	for target, code := range map[string]int{"/statusz": 200, "/statusz?format=json": 200, "/statusz/dns/resolver": 200, "/statusz/a/b": 404, "/statusz/a": 404, "/statusz/a/b/c": 404, "/elsewhere": 404} {
		r := ask(h, "GET", target)
		if r.StatusCode != code {
			t.Errorf("%s is answered %d, not %d", target, r.StatusCode, code)
		}
		for name, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store",
			"Cross-Origin-Resource-Policy": "same-origin", "Vary": "Accept",
		} {
			if got := r.Header.Get(name); got != want {
				t.Errorf("%s: %s is %q", target, name, got)
			}
		}
		policy := r.Header.Get("Content-Security-Policy")
		for _, part := range []string{"default-src 'none'", "form-action 'self'", "frame-ancestors 'none'", "base-uri 'none'"} {
			if !strings.Contains(policy, part) || strings.Contains(policy, "unsafe") {
				t.Errorf("%s: the policy is %q", target, policy)
			}
		}
	}
	// The one style sheet is the one that the policy allows.
	r := ask(h, "GET", "/statusz")
	_, rest, _ := strings.Cut(body(t, r), "<style>")
	style, _, _ := strings.Cut(rest, "</style>")
	sum := sha256.Sum256([]byte(style))
	if hash := base64.StdEncoding.EncodeToString(sum[:]); len(style) < 1000 || !strings.Contains(r.Header.Get("Content-Security-Policy"), "style-src 'sha256-"+hash+"'") {
		t.Errorf("the policy does not allow the style sheet of %d bytes, whose hash is %s", len(style), hash)
	}
}

// The loop answers between the steps of its passes, of which one may take long.
func TestALoopThatDoesNotAnswerIsAPageThatSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := page.Handler(
			func(ctx context.Context) (report.Status, error) { <-ctx.Done(); return report.Status{}, ctx.Err() },
			func(ctx context.Context, _, _ string) (report.Explanation, bool, error) {
				<-ctx.Done()
				return report.Explanation{}, false, ctx.Err()
			})
		for _, path := range []string{"/statusz", "/statusz/a/b"} {
			begin := time.Now()
			r := ask(h, "GET", path)
			if took := time.Since(begin); took != 10*time.Second {
				t.Errorf("%s was waited for %v", path, took)
			}
			if text := body(t, r); r.StatusCode != http.StatusServiceUnavailable || r.Header.Get("Retry-After") == "" || !strings.Contains(text, "deadline exceeded") || !strings.Contains(text, "try again") {
				t.Errorf("%s is answered %d:\n%s", path, r.StatusCode, text)
			}
		}
	})
}

// Also behind a proxy that puts a prefix in front, which no link begins with.
func TestFewDocumentsAreMadeAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var making, answered atomic.Int64
		slow := func() {
			if n := making.Add(1); n > 2 {
				t.Errorf("%d documents are made at a time", n)
			}
			time.Sleep(4 * time.Second)
			making.Add(-1)
		}
		h := page.Handler(
			func(context.Context) (report.Status, error) { slow(); return report.Status{}, nil },
			func(context.Context, string, string) (report.Explanation, bool, error) {
				slow()
				return report.Explanation{}, true, nil
			})
		for i := range 20 {
			go func() {
				if r := ask(h, http.MethodGet, []string{"/statusz", "/statusz/shop/web"}[i%2]); r.StatusCode == http.StatusOK {
					answered.Add(1)
				}
			}()
		}
		time.Sleep(time.Minute)
		// Three rounds of two begin within the ten seconds that a request waits.
		if n := answered.Load(); n != 6 {
			t.Errorf("%d of 20 requests got a document, want 6", n)
		}
	})
}

func TestTheWayHomeIsRelative(t *testing.T) {
	h := node(pagetest.Quiet(1), pagetest.Explained())
	for _, path := range []string{"/elsewhere", "/statusz/", "/statusz/a", "/statusz/a/b", "/statusz/a%2Fb/c", "/statusz/dns/resolver", "/statusz/a/b/c"} {
		home := regexp.MustCompile(`<p class="crumbs"><a href="([^"]*)"`).FindStringSubmatch(body(t, ask(h, "GET", path)))
		if home == nil {
			t.Errorf("%s has no way home", path)
			continue
		}
		to, err := url.Parse("http://node/proxy" + path)
		if err == nil {
			to, err = to.Parse(home[1])
		}
		if err != nil || to.EscapedPath() != "/proxy/statusz" {
			t.Errorf("%s: %s leads to %v: %v", path, home[1], to, err)
		}
	}
}

func TestAnErrorOfTheLoopIsShownAsText(t *testing.T) {
	h := page.Handler(
		func(context.Context) (report.Status, error) { return report.Status{}, errors.New("<script>\u202e") },
		func(context.Context, string, string) (report.Explanation, bool, error) {
			return report.Explanation{}, false, nil
		})
	if text := body(t, ask(h, "GET", "/statusz")); strings.Contains(text, "<script>") || !strings.Contains(text, `&lt;script&gt;\u202e`) {
		t.Errorf("an error is shown as\n%s", text)
	}
	if text := body(t, ask(h, "GET", "/statusz/%3Cscript%3E/%E2%80%AE")); strings.Contains(text, "<script>") || !strings.Contains(text, `&lt;script&gt;/\u202e`) {
		t.Errorf("a name is shown as\n%s", text)
	}
}
