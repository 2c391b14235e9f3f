package kube

import (
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/sync/kube/apitest"
)

// restores are the ways in which an agent may notice, or not, that its API server was restored.
var restores = map[string]func(*apitest.Server, apitest.Backup){
	"refused for a minute": func(s *apitest.Server, b apitest.Backup) {
		s.Refuse(true)
		time.Sleep(time.Minute)
		s.Restore(b)
		s.Refuse(false)
	},
	"reset":                      func(s *apitest.Server, b apitest.Backup) { s.Restore(b); s.Break() },
	"watches that ended orderly": (*apitest.Server).Restore,
	"a partition meanwhile": func(s *apitest.Server, b apitest.Backup) {
		s.Silence(true)
		time.Sleep(time.Minute)
		s.Restore(b)
		s.Silence(false)
	},
}

func eachRestore(t *testing.T, f func(t *testing.T, s *apitest.Server, restore func(apitest.Backup))) {
	for name, restore := range restores {
		for mode, prepare := range map[string]func(*apitest.Server){"streams": func(*apitest.Server) {}, "lists": (*apitest.Server).WithoutStreams} {
			t.Run(name+"/"+mode, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := apiServer(t, node("node-a", "10.1.0.10"), apiWeb(), apiSlice("10.0.0.1", "10.0.0.2"))
					prepare(s)
					f(t, s, func(b apitest.Backup) { restore(s, b) })
				})
			})
		}
	}
}

// afterRestore is how long it may take: client-go's longest pause, and the server's wait for a version that it does not have.
const afterRestore = time.Minute + 10*time.Second

func TestARestoredBackupIsFollowedAlthoughVersionsGoBack(t *testing.T) {
	eachRestore(t, func(t *testing.T, s *apitest.Server, restore func(apitest.Backup)) {
		a := startAgent(t, s)
		a.within(time.Minute, serving("10.0.0.1", "10.0.0.2"))
		old := s.Backup()
		s.Set(apiSlice("10.0.0.1", "10.0.0.2", "10.0.0.3"))
		for range 1000 { // The versions to come are far behind.
			s.Set(node("node-b"))
		}
		a.within(time.Second, serving("10.0.0.1", "10.0.0.2", "10.0.0.3"))
		restore(old)
		t.Logf("as in the backup after %v", a.within(afterRestore, serving("10.0.0.1", "10.0.0.2")))
		s.Set(apiSlice("10.0.0.1", "10.0.0.2", "10.0.0.4"))
		t.Logf("the next change after %v", a.within(time.Second, serving("10.0.0.1", "10.0.0.2", "10.0.0.4")))
	})
}

// A server that has just started may refuse a list, for it has not read who may do what, and take the watch that comes next.
func TestARestoredBackupIsNoticedAlthoughTheFirstQuestionIsRefused(t *testing.T) {
	for _, code := range []int{403, 429, 500} {
		t.Run(strconv.Itoa(code), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := apiServer(t, node("node-a", "10.1.0.10"), apiWeb(), apiSlice("10.0.0.1", "10.0.0.2"))
				a := startAgent(t, s)
				a.within(time.Minute, serving("10.0.0.1", "10.0.0.2"))
				old := s.Backup()
				for n := range 1000 {
					s.Set(apiSlice("10.0.0.1", fmt.Sprintf("10.0.%d.%d", 1+n/200, n%200)))
				}
				a.within(time.Minute, serving("10.0.0.1", "10.0.5.199"))
				var refused atomic.Int64
				refuse := apitest.Status(code, 0)
				s.Fail("endpointslices", func(s *apitest.Server, w http.ResponseWriter, r *http.Request, answer http.HandlerFunc) {
					if r.URL.Query().Get("limit") == "1" && refused.Add(1) == 1 {
						refuse(s, w, r, answer)
						return
					}
					answer(w, r)
				})
				s.Restore(old)
				s.Break()
				a.within(afterRestore+drainTimeout, serving("10.0.0.1", "10.0.0.2"))
				if refused.Load() == 0 {
					t.Error("nobody asked for the version")
				}
			})
		})
	}
}

// A write after the restore may get the number that another one had before. Where that is the last number that was seen, nobody can
// tell before the next list (see docs/operations.md), which then has to be believed, although the number is known.
func TestAVersionThatComesTwiceIsReadTwice(t *testing.T) {
	eachRestore(t, func(t *testing.T, s *apitest.Server, restore func(apitest.Backup)) {
		a := startAgent(t, s)
		old := s.Backup()
		s.Set(apiSlice("10.0.0.3"))
		before := s.Get(apiSlice()).GetResourceVersion()
		a.within(time.Minute, serving("10.0.0.3"))
		s.Refuse(true) // Nobody sees what comes before the second write.
		s.Restore(old)
		s.Set(apiSlice("10.0.0.3", "10.0.0.4"))
		if again := s.Get(apiSlice()).GetResourceVersion(); again != before {
			t.Fatalf("version %s, not %s again", again, before)
		}
		now := s.Backup()
		s.Refuse(false)
		restore(now)
		time.Sleep(time.Minute)
		s.Set(node("node-b"))
		s.Compact()
		s.EndWatches()
		a.within(afterRestore, serving("10.0.0.3", "10.0.0.4"))
	})
}

func TestAnotherClusterIsServedWithoutAGap(t *testing.T) {
	eachRestore(t, func(t *testing.T, s *apitest.Server, restore func(apitest.Backup)) {
		a := startAgent(t, s)
		a.within(time.Minute, serving("10.0.0.1", "10.0.0.2"))
		other, err := apitest.Start()
		must(t, err)
		defer other.Close()
		svc, slice := apiWeb(), apiSlice("10.0.0.1", "10.0.0.2")
		svc.UID, slice.UID = types.UID("new-uid-web"), types.UID("new-uid-slice")
		other.Set(slice, node("node-a", "10.1.0.10"), svc)
		writes := a.kernel.Writes()
		restore(other.Backup())
		time.Sleep(afterRestore)
		a.within(0, serving("10.0.0.1", "10.0.0.2"))
		if n := a.kernel.Writes() - writes; n != 0 {
			t.Errorf("%d writes", n)
		}
		s.Set(apiSlice("10.0.0.2", "10.0.0.3", "10.0.0.1"))
		a.within(time.Second, serving("10.0.0.1", "10.0.0.2", "10.0.0.3"))
	})
}

// An empty list is the truth, as any complete list is: nothing gets new connections. Those there are live on as long as their
// real servers drain, and nothing was lost if the objects are back by then.
func TestAnEmptyClusterDrainsAndItsReturnFindsTheConnections(t *testing.T) {
	eachRestore(t, func(t *testing.T, s *apitest.Server, restore func(apitest.Backup)) {
		a := startAgent(t, s)
		a.within(time.Minute, serving("10.0.0.1", "10.0.0.2"))
		full := s.Backup()
		a.connect("10.0.0.1", "10.0.0.2")
		restore(apitest.Empty())
		drained := "tcp://10.1.0.10:30080 10.0.0.1:8080*0 10.0.0.2:8080*0"
		a.within(afterRestore, drained)
		a.untouched(time.Minute)
		restore(full)
		a.within(afterRestore, serving("10.0.0.1", "10.0.0.2"))
		restore(apitest.Empty())
		a.within(afterRestore, drained)
		a.untouched(drainTimeout - 2*time.Minute)
		a.within(3 * time.Minute) // Nothing is left.
	})
}

// connect gives real servers a connection each.
func (a *agent) connect(addresses ...string) {
	for _, addr := range addresses {
		a.kernel.SetConnections(webKey, netip.MustParseAddrPort(addr+":8080"), ipvs.Connections{Active: 1})
	}
}

func TestAnObjectThatABackupDoesNotHaveDrainsAndGoes(t *testing.T) {
	eachRestore(t, func(t *testing.T, s *apitest.Server, restore func(apitest.Backup)) {
		a := startAgent(t, s)
		old := s.Backup()
		s.Set(webService("api", 30081), sliceOf("api", "10.0.0.9"))
		api := "tcp://10.1.0.10:30081 10.0.0.9:8080*1"
		a.within(time.Minute, serving("10.0.0.1", "10.0.0.2"), api)
		restore(old)
		a.within(afterRestore+drainTimeout, serving("10.0.0.1", "10.0.0.2"))
	})
}

// Of some kinds more was seen than the restored server has, of others less than it has written since: these cannot tell by themselves, and
// would go on with what the backup does not have.
func TestWhatOneKindNoticesOfABackupAllAreTold(t *testing.T) {
	for mode, prepare := range map[string]func(*apitest.Server){"streams": func(*apitest.Server) {}, "lists": (*apitest.Server).WithoutStreams} {
		t.Run(mode, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := apiServer(t, node("node-a", "10.1.0.10"), apiWeb(), apiSlice("10.0.0.1", "10.0.0.2"))
				prepare(s)
				s.WithoutBookmarks() // of the versions of other kinds
				a := startAgent(t, s)
				a.within(time.Minute, serving("10.0.0.1", "10.0.0.2"))
				old := s.Backup()
				s.Set(webService("api", 30081), sliceOf("api", "10.0.0.9"))
				for n := range 30 {
					s.Set(apiSlice("10.0.0.1", fmt.Sprintf("10.0.1.%d", n)))
				}
				a.within(time.Minute, serving("10.0.0.1", "10.0.1.29"), "tcp://10.1.0.10:30081 10.0.0.9:8080*1")
				s.Refuse(true)
				s.Break()
				s.Restore(old)
				for range 10 { // The last Service was number 4 or so, the last slice more than 30.
					s.Set(node("node-b"))
				}
				s.Refuse(false)
				a.within(afterRestore+drainTimeout, serving("10.0.0.1", "10.0.0.2"))
				s.Set(webService("new", 30082), sliceOf("new", "10.0.0.8"), apiSlice("10.0.0.1", "10.0.0.2", "10.0.0.3"))
				a.within(time.Second, serving("10.0.0.1", "10.0.0.2", "10.0.0.3"), "tcp://10.1.0.10:30082 10.0.0.8:8080*1")
			})
		})
	}
}

func TestEventsThatComeTwiceOrLateDoNoHarmAndTheNextListSettlesIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := apiServer(t, node("node-a", "10.1.0.10"), apiWeb(), apiSlice("10.0.0.1"))
		a := startAgent(t, s)
		a.within(time.Minute, serving("10.0.0.1"))
		late := s.Get(apiSlice())
		s.Set(apiSlice("10.0.0.1", "10.0.0.2"))
		a.within(time.Second, serving("10.0.0.1", "10.0.0.2"))
		twice := s.Get(apiSlice())
		gone := sliceOf("gone", "10.0.0.7")
		gone.ResourceVersion = "7"
		for _, kind := range []watch.EventType{watch.Added, watch.Modified, watch.Modified} {
			s.Send(kind, twice)
		}
		for range 2 {
			s.Send(watch.Deleted, gone)
		}
		a.untouched(time.Minute)
		s.Send(watch.Modified, late)
		time.Sleep(time.Second)
		s.Compact()
		s.EndWatches()
		took := a.within(time.Minute+10*time.Second, serving("10.0.0.1", "10.0.0.2"))
		t.Logf("settled after %v", took)
	})
}

var webKey = frontend.Key{Addr: netip.MustParseAddr("10.1.0.10"), Port: 30080, Protocol: frontend.TCP}
