package page

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/kube-ipvs/kube-ipvs/report"
)

// answerWithin is how long the loop has to answer: it does so between the steps of a pass, and somebody waits before a screen.
const answerWithin = 10 * time.Second

//go:embed html/*.html
var files embed.FS

//go:embed html/style.css
var style string

// atOnce is how many documents are made at a time. Each takes tens of megabytes where there are thousands of Services, and
// everybody on the node may ask.
const atOnce = 2

// StatusFunc makes the document of the node. It fails if the loop does not answer while ctx lasts.
type StatusFunc func(context.Context) (report.Status, error)

// ExplainFunc makes the document of one Service; false if there is none of that name. It fails as a StatusFunc does.
type ExplainFunc func(ctx context.Context, namespace, name string) (report.Explanation, bool, error)

// Handler answers GET /statusz and GET /statusz/NAMESPACE/NAME. It may be called at any time and by many at once, if the
// functions may.
func Handler(status StatusFunc, explain ExplainFunc) http.Handler {
	h := &handler{turn: make(chan struct{}, atOnce), status: status, explain: explain, templates: template.Must(template.New("").Funcs(template.FuncMap{
		"style":  func() template.CSS { return template.CSS(style) },
		"path":   path,
		"number": number[int],
		"count":  number[uint64],
		"plural": plural,
		"badge":  newBadge,
	}).ParseFS(files, "html/*.html"))}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /statusz", h.overview)
	mux.HandleFunc("GET /statusz/{namespace}/{name}", h.service)
	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		h.fail(w, r, http.StatusNotFound, "There is no such page", "A page shows the node (statusz) or one Service (statusz/NAMESPACE/NAME).")
	})
	return guarded(mux, policy(style))
}

// path is a relative link from the overview to the page of a Service; "" if there can be none, because a browser goes up
// a folder instead.
func path(namespace, name string) string {
	for _, segment := range []string{namespace, name} {
		if segment == "" || segment == "." || segment == ".." {
			return ""
		}
	}
	return "statusz/" + url.PathEscape(namespace) + "/" + url.PathEscape(name)
}

// policy lets a page do nothing but show itself: its one style sheet is known by its hash, and the icon is part of it.
func policy(style string) string {
	sum := sha256.Sum256([]byte(style))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
}

// guarded sets what every answer has, the one that a method is not allowed included.
func guarded(next http.Handler, policy string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Content-Security-Policy", policy)
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Referrer-Policy", "no-referrer")
		header.Set("Cross-Origin-Resource-Policy", "same-origin")
		header.Set("Cache-Control", "no-store")
		header.Set("Vary", "Accept")
		next.ServeHTTP(w, r)
	})
}

type handler struct {
	turn      chan struct{} // has something for each document that is being made
	status    StatusFunc
	explain   ExplainFunc
	templates *template.Template
}

// begin waits until it is this request's turn; end has to be called after a nil error.
func (h *handler) begin(ctx context.Context) error {
	select {
	case h.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("others ask too: %w", ctx.Err())
	}
}

func (h *handler) end() { <-h.turn }

// statusInTurn is status, when it is this request's turn.
func (h *handler) statusInTurn(ctx context.Context) (report.Status, error) {
	if err := h.begin(ctx); err != nil {
		return report.Status{}, err
	}
	defer h.end()
	return h.status(ctx)
}

// explainInTurn is explain, when it is this request's turn.
func (h *handler) explainInTurn(ctx context.Context, namespace, name string) (report.Explanation, bool, error) {
	if err := h.begin(ctx); err != nil {
		return report.Explanation{}, false, err
	}
	defer h.end()
	return h.explain(ctx, namespace, name)
}

func (h *handler) overview(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), answerWithin)
	defer cancel()
	status, err := h.statusInTurn(ctx)
	switch {
	case err != nil:
		h.unanswered(w, r, err)
	case wantsJSON(r):
		writeJSON(w, http.StatusOK, status)
	default:
		h.write(w, http.StatusOK, "overview.html", newOverview(status, parseQuery(r.URL.Query())))
	}
}

func (h *handler) service(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), answerWithin)
	defer cancel()
	namespace, name := r.PathValue("namespace"), r.PathValue("name")
	explanation, known, err := h.explainInTurn(ctx, namespace, name)
	switch {
	case err != nil:
		h.unanswered(w, r, err)
	case !known:
		h.fail(w, r, http.StatusNotFound, "There is no Service "+namespace+"/"+name+" here",
			"It opens no port on nodes, or the agent has not heard of it: kubectl get service -n "+namespace+" "+name+" says what its type is.")
	case wantsJSON(r):
		writeJSON(w, http.StatusOK, explanation)
	default:
		h.write(w, http.StatusOK, "service.html", newService(explanation))
	}
}

// unanswered says that the loop did not answer. It may be in a long pass; nothing is wrong with the request.
func (h *handler) unanswered(w http.ResponseWriter, r *http.Request, err error) {
	w.Header().Set("Retry-After", "5")
	h.fail(w, r, http.StatusServiceUnavailable, "The agent does not answer: "+err.Error(),
		"It may be in the middle of a long pass: try again in some seconds. If that does not help, its log says what it is doing, and /livez whether it is stuck. What the kernel was told before is served all the while.")
}

// failure is an answer without a document.
type failure struct {
	frame  `json:"-"`
	What   string `json:"error"`
	Advice string `json:"advice"`
}

func (h *handler) fail(w http.ResponseWriter, r *http.Request, code int, what, advice string) {
	if wantsJSON(r) {
		writeJSON(w, code, failure{What: what, Advice: advice})
		return
	}
	up := strings.Repeat("../", max(0, strings.Count(r.URL.EscapedPath(), "/")-1))
	h.write(w, code, "failure.html", failure{frame: frame{Title: http.StatusText(code), Level: bad, Home: up + "statusz"}, What: what, Advice: advice})
}

// write sends a page in one piece: one that cannot be made is a failure, not half a page.
func (h *handler) write(w http.ResponseWriter, code int, name string, data any) {
	var b bytes.Buffer
	if err := h.templates.ExecuteTemplate(&b, name, data); err != nil {
		http.Error(w, "the page cannot be made: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(code)
	_, _ = w.Write(visible(b.Bytes())) // the client is gone: nobody is left to tell
}

func writeJSON(w http.ResponseWriter, code int, document any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	_ = encoder.Encode(document) // the client is gone: nobody is left to tell
}

// wantsJSON goes by ?format, then by which of the two stands first in Accept. Who accepts anything gets a page.
func wantsJSON(r *http.Request) bool {
	switch r.FormValue("format") {
	case "json":
		return true
	case "html":
		return false
	}
	for _, accepted := range strings.Split(r.Header.Get("Accept"), ",") {
		switch media, _, _ := strings.Cut(accepted, ";"); strings.TrimSpace(media) {
		case "application/json":
			return true
		case "text/html":
			return false
		}
	}
	return false
}
