package kube

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kube-ipvs/kube-ipvs/sync/kube/apitest"
)

// illness is what an API server does wrong.
type illness struct {
	begin, end func(*apitest.Server)
	bound      time.Duration
	// leaks: what changes meanwhile may be heard all the same, since lists are answered, or all is in the end.
	leaks bool
}

// What an API server does wrong, for three minutes: nothing is written to the kernel, and what changed meanwhile arrives within
// the bound once it does right again.
func TestWhatIsServedStaysServedWhateverTheAPIServerDoes(t *testing.T) {
	// slowest is client-go's longest wait between two tries, 30 s with as much again of chance.
	const slowest = time.Minute
	type server = apitest.Server
	for name, fault := range map[string]illness{
		"refuses connections":     {func(s *server) { s.Refuse(true) }, func(s *server) { s.Refuse(false) }, slowest, false},
		"resets connections":      failing(apitest.Reset, slowest),
		"breaks off answers":      failing(apitest.HalfAnAnswer, slowest),
		"500":                     failing(apitest.Status(http.StatusInternalServerError, 0), slowest),
		"500 with Retry-After":    failing(apitest.Status(http.StatusInternalServerError, time.Second), slowest),
		"503":                     failing(apitest.Status(http.StatusServiceUnavailable, 0), slowest),
		"429":                     failing(apitest.Status(http.StatusTooManyRequests, 0), slowest),
		"429 with Retry-After":    failing(apitest.Status(http.StatusTooManyRequests, 5*time.Second), slowest),
		"410":                     failing(apitest.Status(http.StatusGone, 0), slowest),
		"401":                     failing(apitest.Status(http.StatusUnauthorized, 0), slowest),
		"403":                     failing(apitest.Status(http.StatusForbidden, 0), slowest),
		"watches end at once":     leaking(failing(apitest.EndAtOnce, slowest)),
		"watches end with a 410":  leaking(failing(apitest.ErrorEvent(http.StatusGone, 0), slowest)),
		"watches end with a 500":  leaking(failing(apitest.ErrorEvent(http.StatusInternalServerError, 0), slowest)),
		"watches end with a 429":  leaking(failing(apitest.ErrorEvent(http.StatusTooManyRequests, 0), slowest)),
		"answers byte by byte":    leaking(failing(apitest.Slow(1, 100*time.Millisecond), slowest)),
		"does not answer":         failing(apitest.Hang, answerPatience+slowest),
		"answers no more than OK": failing(apitest.HangAfterHeaders, watchSilence+slowest),
		"says nothing":            {func(s *server) { s.Silence(true) }, func(s *server) { s.Silence(false) }, time.Second, false},
		"forgets its events":      {func(s *server) { s.Compact(); s.EndWatches() }, func(*server) {}, slowest, true},
	} {
		for mode, prepare := range map[string]func(*server){
			"streams": func(*server) {}, "lists": (*server).WithoutStreams, "no bookmarks": (*server).WithoutBookmarks,
		} {
			t.Run(name+"/"+mode, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := apiServer(t, node("node-a", "10.1.0.10"), apiWeb(), apiSlice("10.0.0.1", "10.0.0.2"))
					prepare(s)
					a := startAgent(t, s)
					a.within(time.Minute, serving("10.0.0.1", "10.0.0.2"))
					fault.begin(s)
					a.untouched(2 * time.Minute)
					s.Set(apiSlice("10.0.0.1", "10.0.0.2", "10.0.0.3"))
					if fault.leaks {
						time.Sleep(time.Minute)
					} else {
						a.untouched(time.Minute)
					}
					fault.end(s)
					took := a.within(fault.bound, serving("10.0.0.1", "10.0.0.2", "10.0.0.3"))
					t.Logf("the change is served after %v", took)
				})
			})
		}
	}
}

// failing breaks what connections there are and has new requests fail.
func failing(f apitest.Fault, bound time.Duration) illness {
	return illness{
		begin: func(s *apitest.Server) { s.Fail("", f); s.EndWatches(); s.Break() },
		end:   func(s *apitest.Server) { s.Fail("", nil) },
		bound: bound,
	}
}

func leaking(i illness) illness {
	i.leaks = true
	return i
}
