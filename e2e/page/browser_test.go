package page

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/kube-ipvs/kube-ipvs/report"
	reportpage "github.com/kube-ipvs/kube-ipvs/report/page"
)

// browserTimeout bounds one test: on a small machine that is busy a page takes seconds.
const browserTimeout = 3 * time.Minute

// stepTimeout bounds what is waited for on a page.
const stepTimeout = 30 * time.Second

// serve serves the pages of one node with one Service that is explained.
func serve(t *testing.T, s report.Status, e report.Explanation) string {
	t.Helper()
	server := httptest.NewServer(reportpage.Handler(
		func(context.Context) (report.Status, error) { return s, nil },
		func(_ context.Context, namespace, _ string) (report.Explanation, bool, error) {
			if namespace == "gone" {
				return report.Explanation{}, false, nil
			}
			return e, true, nil
		}))
	t.Cleanup(server.Close)
	return server.URL
}

// view is how somebody looks at a page.
type view struct {
	name          string
	width, height int64
	phone, dark   bool
	scriptless    bool
}

func views() []view {
	return []view{
		{name: "desktop-light", width: 1280, height: 900},
		{name: "desktop-dark", width: 1280, height: 900, dark: true},
		{name: "phone-light", width: 360, height: 740, phone: true},
		{name: "phone-dark", width: 360, height: 740, phone: true, dark: true},
	}
}

// tab is one page of a browser. When its test ends it fails if the page complained, or asked anybody but
// its own server for anything.
type tab struct {
	context.Context
	t *testing.T

	mu         sync.Mutex
	requests   []string
	complaints []string
}

// chromium is a running browser.
type chromium struct{ context.Context }

// start starts one, which ends with the test. Root gets none with a sandbox, and what it shows is ours.
func start(t *testing.T) chromium {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), browserTimeout)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(program(t)), chromedp.NoSandbox, chromedp.WSURLReadTimeout(time.Minute))...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal(err)
	}
	return chromium{ctx}
}

// open loads an address in a new tab.
func (c chromium) open(t *testing.T, v view, address string) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(c)
	t.Cleanup(cancel)
	b := &tab{Context: ctx, t: t}
	if err := chromedp.Listen(ctx, b.listen); err != nil {
		t.Fatal(err)
	}
	scheme := "light"
	if v.dark {
		scheme = "dark"
	}
	call(b, network.Enable, network.EnableParams{})
	call(b, cdplog.Enable, cdp.Empty{})
	call(b, runtime.Enable, cdp.Empty{})
	call(b, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: v.width, Height: v.height, DeviceScaleFactor: 1, Mobile: v.phone})
	call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
	call(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: v.scriptless})
	b.run(chromedp.Navigate(address))
	t.Cleanup(func() { b.judge(address) })
	return b
}

// program is the browser's; make page installs one.
func program(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium-headless-shell", "chromium", "google-chrome", "chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatal("there is no Chromium on this machine: make page installs one on Debian")
	return ""
}

func (b *tab) listen(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		b.requests = append(b.requests, e.Request.URL)
	case *cdplog.EventEntryAdded:
		b.complaints = append(b.complaints, e.Entry.Text+" "+e.Entry.URL)
	case *runtime.EventExceptionThrown:
		b.complaints = append(b.complaints, e.ExceptionDetails.Text)
	case *runtime.EventConsoleAPICalled:
		b.complaints = append(b.complaints, "console."+string(e.Type))
	case *page.EventJavascriptDialogOpening:
		b.complaints = append(b.complaints, "dialog: "+e.Message)
	}
}

func (b *tab) judge(address string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.requests) == 0 {
		b.t.Error("no request was seen, not even that of the page")
	}
	origin := strings.Join(strings.Split(address, "/")[:3], "/")
	for _, r := range b.requests {
		if !strings.HasPrefix(r, origin+"/statusz") && !strings.HasPrefix(r, "data:image/svg+xml,") {
			b.t.Errorf("the page asked for %s", r)
		}
	}
	if len(b.complaints) > 0 {
		b.t.Errorf("the browser complains: %s", strings.Join(b.complaints, "\n"))
	}
}

func (b *tab) run(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b, stepTimeout)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		b.t.Fatal(err)
	}
}

// ask evaluates an expression in the page.
func ask[T any](b *tab, expression string) T {
	b.t.Helper()
	answer, err := chromedp.Run(b, chromedp.Evaluate[T](expression))
	if err != nil {
		b.t.Fatal(err)
	}
	return answer
}

func call[P, R any](b *tab, command cdp.Command[P, R], params P) R {
	b.t.Helper()
	result, err := chromedp.Call(b, command, params)
	if err != nil {
		b.t.Fatal(err)
	}
	return result
}

// picture leaves a screenshot of the whole page, or of its beginning if it is very long.
func (b *tab) picture(name string) {
	b.t.Helper()
	const longest = 3000
	height := ask[float64](b, "document.documentElement.scrollHeight")
	width := ask[float64](b, "innerWidth")
	png := call(b, page.CaptureScreenshot, page.CaptureScreenshotParams{
		CaptureBeyondViewport: new(true), Clip: &page.Viewport{Width: width, Height: min(height, longest), Scale: 1},
	}).Data
	directory := filepath.Join("..", "..", "out", "page")
	if err := os.MkdirAll(directory, 0o755); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(directory, name+".png"), png, 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// get asks for a page as a program does.
func get(t *testing.T, address string) int {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	return response.StatusCode
}

// none fails with what was found.
func none(t *testing.T, what string, found []string) {
	t.Helper()
	if len(found) > 0 {
		slices.Sort(found)
		t.Errorf("%s:\n%s", what, strings.Join(slices.Compact(found), "\n"))
	}
}

func count(b *tab, selector string) int {
	b.t.Helper()
	return int(ask[float64](b, fmt.Sprintf("document.querySelectorAll(%q).length", selector)))
}
