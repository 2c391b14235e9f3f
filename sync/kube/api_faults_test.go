package kube

import (
	"math"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kube-ipvs/kube-ipvs/sync/kube/apitest"
)

// illness is what an API server does wrong.
type illness struct {
	begin, end func(*apitest.Server)
	bound      time.Duration
	// shows that it was met, where what changes meanwhile may be heard all the same, since lists are answered, or all is in the end.
	// nil: nothing is heard while it goes on, which shows it.
	shows func(meanwhile) bool
}

// meanwhile is what is seen of an agent while the API server does something wrong. Of one that does nothing but to break connections it
// lists and watches each kind once more, and serves what changes at once.
type meanwhile struct {
	lists, watches int           // that were asked for, streaming lists with either, of the kind that had the fewest
	heard          time.Duration // from the change on; long if it was not
}

func watchesAgain(m meanwhile) bool { return m.watches >= 6 }

func hearsLate(m meanwhile) bool { return m.heard > 10*time.Second }

func listsAnew(m meanwhile) bool { return m.lists > 0 }

// What an API server does wrong, for three minutes: nothing is written to the kernel, and what changed meanwhile arrives within
// the bound once it does right again.
func TestWhatIsServedStaysServedWhateverTheAPIServerDoes(t *testing.T) {
	// slowest is client-go's longest wait between two tries, 30 s with as much again of chance.
	const slowest = time.Minute
	type server = apitest.Server
	for name, fault := range map[string]illness{
		"refuses connections":     {func(s *server) { s.Refuse(true) }, func(s *server) { s.Refuse(false) }, slowest, nil},
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
		"watches end at once":     leaking(failing(apitest.EndAtOnce, slowest), watchesAgain),
		"watches end with a 410":  leaking(failing(apitest.ErrorEvent(http.StatusGone, 0), slowest), watchesAgain),
		"watches end with a 500":  leaking(failing(apitest.ErrorEvent(http.StatusInternalServerError, 0), slowest), watchesAgain),
		"watches end with a 429":  leaking(failing(apitest.ErrorEvent(http.StatusTooManyRequests, 0), slowest), watchesAgain),
		"answers byte by byte":    leaking(failing(apitest.Slow(1, 100*time.Millisecond), slowest), hearsLate),
		"does not answer":         failing(apitest.Hang, answerPatience+slowest),
		"answers no more than OK": failing(apitest.HangAfterHeaders, watchSilence+slowest),
		"says nothing":            {func(s *server) { s.Silence(true) }, func(s *server) { s.Silence(false) }, time.Second, nil},
		"forgets its events":      {forgets, func(*server) {}, slowest, listsAnew},
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
					time.Sleep(time.Minute) // To client-go a watch that ends within a second is a fault of its own.
					before, three := s.Asked(), serving("10.0.0.1", "10.0.0.2", "10.0.0.3")
					fault.begin(s)
					a.untouched(2 * time.Minute)
					s.Set(apiSlice("10.0.0.1", "10.0.0.2", "10.0.0.3"))
					if fault.shows == nil {
						a.untouched(time.Minute)
					} else if seen := a.meanwhile(before, three); !fault.shows(seen) {
						t.Errorf("the API server did nothing wrong: %+v", seen)
					}
					fault.end(s)
					took := a.within(fault.bound, three)
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

func leaking(i illness, shows func(meanwhile) bool) illness {
	i.shows = shows
	return i
}

// forgets has the agent be behind what the server remembers, since something happened that it did not ask for. Whoever goes on from the
// version that he has is told 410.
func forgets(s *apitest.Server) {
	s.Set(node("node-b", "10.1.0.11"))
	s.Compact()
	s.EndWatches()
}

// meanwhile lets a minute go by, and says what was seen in it and since the server had been asked so much.
func (a *agent) meanwhile(before map[string]int, changed string) meanwhile {
	m := meanwhile{lists: math.MaxInt, watches: math.MaxInt, heard: math.MaxInt64}
	for began := time.Now(); time.Since(began) < time.Minute; time.Sleep(100 * time.Millisecond) {
		synctest.Wait()
		if slices.Equal(a.table(), []string{changed}) {
			m.heard = min(m.heard, time.Since(began))
		}
	}
	now := a.server.Asked()
	for _, kind := range []string{apitest.Services, apitest.EndpointSlices, apitest.Nodes} {
		more := func(verb string) int { return now[verb+" "+kind] - before[verb+" "+kind] }
		m.lists, m.watches = min(m.lists, more("list")+more("stream")), min(m.watches, more("watch")+more("stream"))
	}
	return m
}
