package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	stdsync "sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// besieged is an endpoint with these limits, and how to connect to it.
func besieged(t *testing.T, handler http.Handler, change func(*serveLimits)) (dial func() net.Conn) {
	t.Helper()
	l, err := listen(t.Context(), "--healthz-bind-address", "127.0.0.1:0", handler)
	if err != nil {
		t.Fatal(err)
	}
	change(&l.limits)
	ended := make(chan error, 1)
	go func() { ended <- l.serve(t.Context()) }()
	t.Cleanup(func() { // the context has ended by now
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return func() net.Conn {
		c, err := new(net.Dialer).DialContext(t.Context(), "tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		return c
	}
}

// says sends a request as it is written and returns the status of the answer.
func says(t *testing.T, c net.Conn, request string) (status int, body string) {
	t.Helper()
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("%.80q has no answer: %v", request, err)
	}
	defer r.Body.Close()
	text, _ := io.ReadAll(r.Body)
	return r.StatusCode, string(text)
}

func TestAClientThatIsSlowIsHungUpOn(t *testing.T) {
	const soon = 50 * time.Millisecond
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	for name, c := range map[string]struct {
		change func(*serveLimits)
		sends  string
	}{
		"says nothing":          {func(l *serveLimits) { l.header = soon }, ""},
		"says half of a header": {func(l *serveLimits) { l.header = soon }, "GET /livez HTTP/1.1\r\nHost: a\r\n"},
		"keeps its body back":   {func(l *serveLimits) { l.request = soon }, "POST /livez HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nx"},
		"asks nothing further":  {func(l *serveLimits) { l.idle = soon }, "GET /livez HTTP/1.1\r\nHost: a\r\n\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			conn := besieged(t, handler, c.change)()
			if _, err := io.WriteString(conn, c.sends); err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, conn); err != nil && !errors.Is(err, unix.ECONNRESET) {
				t.Errorf("%v: it is still heard", err)
			}
		})
	}
	t.Run("does not read", func(t *testing.T) {
		wrote := make(chan error, 1)
		endless := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			for { // ends with the connection
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					wrote <- err
					return
				}
			}
		})
		conn := besieged(t, endless, func(l *serveLimits) { l.answer = soon })()
		if _, err := io.WriteString(conn, "GET /livez HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-wrote:
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%v, want that its time is over", err)
			}
		case <-time.After(10 * time.Second):
			t.Error("it is still answered")
		}
	})
}

// A kubelet that does not get through ends the agent.
func TestTheNextClientIsHeardHoweverManyAreSilent(t *testing.T) {
	dial := besieged(t, http.NotFoundHandler(), func(l *serveLimits) { l.connections, l.header = 4, time.Hour })
	var silent []net.Conn
	for range 8 {
		silent = append(silent, dial())
	}
	if status, _ := says(t, dial(), "GET / HTTP/1.0\r\n\r\n"); status != http.StatusNotFound {
		t.Errorf("status %d", status)
	}
	// Connections are accepted in the order in which they came: the five oldest have made room.
	for i, c := range silent[:5] {
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("connection %d: %v, want its end", i, err)
		}
	}
	last := silent[len(silent)-1]
	if status, _ := says(t, last, "GET / HTTP/1.0\r\n\r\n"); status != http.StatusNotFound {
		t.Errorf("the newest but one: status %d", status)
	}
}

// The kubelet gives a probe one second (timeoutSeconds), and ends the agent after three that failed.
func TestAProbeIsAnsweredWhileAThousandConnectionsASecondComeAndSayNothing(t *testing.T) {
	const perSecond, seconds, timeout = 1000, 2, time.Second
	l, err := listen(t.Context(), "--healthz-bind-address", "127.0.0.1:0", http.NotFoundHandler())
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(t.Context())
	var running stdsync.WaitGroup
	running.Go(func() {
		if err := l.serve(ctx); err != nil {
			t.Error(err)
		}
	})
	came := 0
	running.Go(func() {
		var open []net.Conn // as many as the endpoint keeps, and as many again
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for begin := time.Now(); ctx.Err() == nil; <-tick.C {
			for due := int(time.Since(begin).Seconds() * perSecond); came < due; came++ {
				c, err := new(net.Dialer).DialContext(ctx, "tcp", l.Addr().String())
				if err != nil {
					break
				}
				if open = append(open, c); len(open) > 2*l.limits.connections {
					_ = open[0].Close()
					open = open[1:]
				}
			}
		}
		for _, c := range open {
			_ = c.Close()
		}
	})
	var took []time.Duration
	probe := http.Client{Timeout: timeout, Transport: &http.Transport{DisableKeepAlives: true}} // as the kubelet's
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for begin := time.Now(); time.Since(begin) < seconds*time.Second; <-tick.C {
		asked := time.Now()
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+l.Addr().String()+"/livez", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		response, err := probe.Do(request)
		if err != nil {
			t.Errorf("probe %d: %v", len(took), err)
			break
		}
		_ = response.Body.Close()
		took = append(took, time.Since(asked))
	}
	end()
	running.Wait()
	slices.Sort(took)
	if came < 2*l.limits.connections || len(took) < 10 {
		t.Fatalf("%d connections, %d probes", came, len(took))
	}
	t.Logf("%d connections in %d s; of %d probes half took up to %s, the longest %s", came, seconds, len(took), took[len(took)/2], took[len(took)-1])
}

func TestAConnectionGivesItsPlaceBackOnce(t *testing.T) {
	l := &crowded{most: 2}
	var ends []*crowdedConn
	for range 3 {
		ours, theirs := net.Pipe()
		defer theirs.Close()
		c := &crowdedConn{Conn: ours, of: l}
		if oldest := l.enter(c); (oldest != nil) != (len(ends) == 2) || oldest != nil && oldest != ends[0] {
			t.Errorf("%p makes room for connection %d", oldest, len(ends))
		}
		ends = append(ends, c)
	}
	for _, c := range append(ends, ends...) {
		_ = c.Close()
	}
	if n := l.open.Len(); n != 0 {
		t.Errorf("%d connections are left", n)
	}
}

func TestARequestThatIsTooLongIsRefused(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	dial := besieged(t, handler, func(*serveLimits) {})
	long := strings.Repeat("x", 64<<10)
	for name, c := range map[string]struct {
		request string
		want    int
	}{
		"header":        {"GET / HTTP/1.1\r\nHost: a\r\nX-Long: " + long + "\r\n\r\n", http.StatusRequestHeaderFieldsTooLarge},
		"many headers":  {"GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("X: y\r\n", 16<<10) + "\r\n", http.StatusRequestHeaderFieldsTooLarge},
		"address":       {"GET /" + long + " HTTP/1.1\r\nHost: a\r\n\r\n", http.StatusRequestHeaderFieldsTooLarge},
		"body":          {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000000\r\n\r\n", http.StatusNoContent}, // is not read
		"not HTTP":      {"\x16\x03\x01\x02\x00\x01\r\n\r\n", http.StatusBadRequest},
		"two lengths":   {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", http.StatusBadRequest},
		"no host":       {"GET / HTTP/1.1\r\n\r\n", http.StatusBadRequest},
		"what browsers": {"GET / HTTP/1.1\r\nHost: a\r\nCookie: " + long[:16<<10] + "\r\n\r\n", http.StatusNoContent},
		"less":          {"GET / HTTP/1.1\r\nHost: a\r\nX-Long: " + long[:35<<10] + "\r\n\r\n", http.StatusNoContent},
		"more":          {"GET / HTTP/1.1\r\nHost: a\r\nX-Long: " + long[:36<<10] + "\r\n\r\n", http.StatusRequestHeaderFieldsTooLarge},
	} {
		if status, _ := says(t, dial(), c.request); status != c.want {
			t.Errorf("%s: status %d, want %d", name, status, c.want)
		}
	}
}

func TestNoPathLeadsToAFileOrToAnotherHost(t *testing.T) {
	health, metrics := httpEndpoints(t, "--profiling")
	i, _, _ := shop(t)
	for name, handler := range map[string]http.Handler{"health": health, "metrics": metrics, "the socket": socketHandler(i)} {
		dial := besieged(t, handler, func(*serveLimits) {})
		for _, line := range []string{
			"GET /../../../../etc/passwd", "GET /statusz/../../etc/passwd", "GET /statusz/..%2f..%2fetc/passwd", "GET /statusz/%2e%2e/etc/passwd",
			"GET /statusz/..%2f..%2f..%2fetc%2fpasswd/x", "GET /debug/pprof/../../etc/passwd", "GET /debug/pprof/..%2f..%2fetc%2fpasswd", "GET //etc/passwd",
			"GET /explain/service/..%2f../etc%2fpasswd", "GET /traffic?endpoints=../../etc/passwd", "GET file:///etc/passwd",
			"GET http://169.254.169.254/latest/meta-data/", "CONNECT 169.254.169.254:80", "OPTIONS *", "TRACE /metrics", "GET /debug/pprof/trace?seconds=x/../..",
		} {
			// 200 is the answer to OPTIONS *, which is that of the server as a whole, and the trace of a second.
			status, body := says(t, dial(), line+" HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
			asked := line == "OPTIONS *" || strings.Contains(line, "pprof/trace")
			if strings.Contains(body, "root:") || status < 300 && !asked || status/100 == 5 {
				t.Errorf("%s: %s is answered %d %.60q", name, line, status, body)
			}
		}
	}
}

// Another page's script is not shown what these endpoints answer: none of them allows an origin.
func TestNoOriginIsAllowedToRead(t *testing.T) {
	health, metrics := httpEndpoints(t, "--profiling")
	for path, of := range map[string]struct {
		http.Handler
		get int // what a GET is answered with
	}{
		"/healthz": {health, 503}, "/readyz": {health, 503}, "/livez": {health, 200}, // nothing is synced yet
		"/metrics": {metrics, 200}, "/statusz": {metrics, 200}, "/statusz/shop/web": {metrics, 200}, "/flagz": {metrics, 200},
		"/debug/pprof/cmdline": {metrics, 200},
	} {
		for _, method := range []string{http.MethodGet, http.MethodOptions} {
			request := httptest.NewRequestWithContext(t.Context(), method, path, http.NoBody)
			request.Header.Set("Origin", "https://elsewhere.example")
			request.Header.Set("Access-Control-Request-Method", "GET")
			r := httptest.NewRecorder()
			of.ServeHTTP(r, request)
			if method == http.MethodGet && (r.Code != of.get || r.Body.Len() == 0) {
				t.Errorf("%s is answered %d with %d bytes, want %d: nothing is there to read", path, r.Code, r.Body.Len(), of.get)
			}
			for header := range r.Header() {
				if strings.HasPrefix(header, "Access-Control-") {
					t.Errorf("%s %s: %s: %s", method, path, header, r.Header().Get(header))
				}
			}
		}
	}
}

// All that can be asked of the socket reads, but for the level of the log.
func TestTheSocketTakesNoMethodThatItDoesNotKnow(t *testing.T) {
	h := socketHandler(asNode1())
	h.Handle(levelPath, levelHandler(&logging{}))
	for _, path := range []string{"/ports", "/status", "/diff", "/traffic", "/services", "/explain/service/a/b", "/explain/address", levelPath} {
		for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "X"} {
			if path == levelPath && method == http.MethodPut {
				continue
			}
			r := httptest.NewRecorder()
			h.ServeHTTP(r, httptest.NewRequestWithContext(t.Context(), method, path, http.NoBody))
			if r.Code != http.StatusMethodNotAllowed {
				t.Errorf("%s %s: %d", method, path, r.Code)
			}
		}
	}
	for name, body := range map[string]string{"long": `{"level":` + strings.Repeat(" ", 2<<10) + `5}`, "no number": `{"level":"x"}`, "nothing": ""} {
		r := httptest.NewRecorder()
		h.ServeHTTP(r, httptest.NewRequestWithContext(t.Context(), http.MethodPut, levelPath, strings.NewReader(body)))
		if r.Code != http.StatusBadRequest {
			t.Errorf("a level that is %s: %d", name, r.Code)
		}
	}
}
