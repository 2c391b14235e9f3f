package kube

import (
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kube-ipvs/kube-ipvs/sync/kube/apitest"
)

func TestAWatchThatIsQuietGoesOnWhileBookmarksCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := apiServer(t, node("node-a", "10.1.0.10"), apiWeb(), apiSlice("10.0.0.1"))
		a := startAgent(t, s)
		a.within(time.Minute, serving("10.0.0.1"))
		asked := maps.Clone(s.Asked())
		time.Sleep(watchSilence + time.Minute) // shorter than any watch
		synctest.Wait()
		if now := s.Asked(); !maps.Equal(now, asked) {
			t.Errorf("a server with nothing new was asked again: %v, before %v", now, asked)
		}
	})
}

func TestAWatchThatSaysNothingAtAllIsAskedForAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := apiServer(t, node("node-a", "10.1.0.10"), apiWeb(), apiSlice("10.0.0.1"))
		s.WithoutBookmarks()
		a := startAgent(t, s)
		a.within(time.Minute, serving("10.0.0.1"))
		asked := maps.Clone(s.Asked())
		time.Sleep(watchSilence + 30*time.Second)
		synctest.Wait()
		now := s.Asked()
		for _, what := range []string{"watch services", "watch endpointslices", "watch nodes"} {
			if again := now[what] - asked[what]; again != 1 {
				t.Errorf("%s %d times more, want once", what, again)
			}
		}
		s.Set(apiSlice("10.0.0.1", "10.0.0.2"))
		a.within(time.Second, serving("10.0.0.1", "10.0.0.2"))
	})
}

func TestAListThatIsNeverAnsweredIsAskedForAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := apiServer(t, node("node-a", "10.1.0.10"), apiWeb(), apiSlice("10.0.0.1"))
		s.WithoutStreams()
		s.Fail("services", apitest.Hang)
		a := startAgent(t, s)
		time.Sleep(time.Minute)
		s.Fail("services", nil)
		a.within(answerPatience+30*time.Second, serving("10.0.0.1"))
		if !a.log.has("no answer to GET /api/v1/services within") {
			t.Errorf("the log does not say why: %v", a.log.lines)
		}
	})
}
