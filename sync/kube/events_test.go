package kube

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"

	"github.com/kube-ipvs/kube-ipvs/sync"
)

func problem(r sync.Reason, message string) sync.Problem {
	return sync.Problem{Object: "Service default/web", Reason: r, Message: message}
}

func (c *cluster) tell(p sync.Problem) {
	c.source.Problem(sync.ServiceID{Namespace: "default", Name: "web"}, "u-1", p)
	synctest.Wait()
}

func (c *cluster) events() []corev1.Event {
	c.Helper()
	list, err := c.client.CoreV1().Events("default").List(c.Context(), metav1.ListOptions{})
	must(c.T, err)
	return list.Items
}

func TestProblemIsAnEventOnItsService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, testOptions(), logr.Discard(), node("node-a"), webService("web", 30080))
		c.tell(problem(sync.Conflict, "before Run nobody is told"))
		c.start()
		c.tell(problem(sync.ListenFailed, "health check port 32000/tcp cannot be listened on"))
		all := c.events()
		if len(all) != 1 {
			t.Fatalf("%d Events, want one: %v", len(all), all)
		}
		e := all[0]
		want := corev1.ObjectReference{APIVersion: "v1", Kind: "Service", Namespace: "default", Name: "web", UID: "u-1"}
		if diff := cmp.Diff(want, e.InvolvedObject); diff != "" {
			t.Errorf("involved object (-want +got):\n%s", diff)
		}
		got := []string{e.Namespace, e.Type, e.Reason, e.Message, e.Source.Component, e.Source.Host, e.ReportingController, e.ReportingInstance}
		if diff := cmp.Diff([]string{
			"default", "Warning", "FailedToStartServiceHealthcheck", "health check port 32000/tcp cannot be listened on",
			"kube-ipvs", "node-a", "kube-ipvs", "node-a",
		}, got); diff != "" {
			t.Errorf("the Event (-want +got):\n%s", diff)
		}
	})
}

func TestProblemsOfOneReasonAreEventsOfTheirOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, testOptions(), logr.Discard(), node("node-a"))
		c.start()
		for _, text := range []string{"first", "second", "first"} {
			c.tell(problem(sync.Conflict, text))
			time.Sleep(time.Second) // an Event's name has its time
		}
		var got []string
		for _, e := range c.events() {
			got = append(got, fmt.Sprintf("%s %d", e.Message, e.Count))
		}
		slices.Sort(got)
		if want := []string{"first 2", "second 1"}; !slices.Equal(got, want) {
			t.Errorf("have %v, want %v", got, want)
		}
	})
}

func TestProblemThatComesAndGoesIsNoStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, testOptions(), logr.Discard(), node("node-a"))
		c.start()
		for n := range 600 {
			c.tell(problem(sync.ListenFailed, fmt.Sprintf("message %d", n)))
			time.Sleep(time.Second)
		}
		writes := 0
		for _, a := range c.client.Actions() {
			if a.GetResource().Resource == "events" && (a.GetVerb() == "create" || a.GetVerb() == "patch") {
				writes++
			}
		}
		if writes == 0 || writes > 30 {
			t.Errorf("%d writes for 600 problems in ten minutes, want at most 30", writes)
		}
	})
}

func TestAPIServerThatTakesNoEventsBlocksNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, testOptions(), logr.Discard(), node("node-a"))
		var down atomic.Bool
		down.Store(true)
		var written atomic.Int32
		c.client.PrependReactor("create", "events", func(a clienttesting.Action) (bool, runtime.Object, error) {
			if down.Load() {
				return true, nil, errors.New("connection refused")
			}
			written.Add(1)
			return true, a.(clienttesting.CreateAction).GetObject(), nil
		})
		c.start()
		begin := time.Now()
		for n := range 3000 { // more than are queued
			c.source.Problem(sync.ServiceID{Namespace: "default", Name: fmt.Sprint("web-", n)}, "u", problem(sync.Invalid, "bad"))
		}
		if took := time.Since(begin); took != 0 {
			t.Errorf("it blocked for %s", took)
		}
		synctest.Wait()
		down.Store(false)
		time.Sleep(time.Minute)
		synctest.Wait()
		if written.Load() == 0 {
			t.Error("no Event once the API server takes them again")
		}
	})
}

func TestProblemAfterTheEndIsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lines := make(chan string, 100)
		log := funcr.New(func(_, args string) { lines <- args }, funcr.Options{})
		c := newCluster(t, testOptions(), log, node("node-a"))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- c.source.Run(ctx) }()
		synctest.Wait()
		cancel()
		must(t, <-done)
		c.tell(problem(sync.Conflict, "too late"))
		synctest.Wait()
		for len(lines) > 0 {
			if line := <-lines; strings.Contains(line, "too late") || strings.Contains(line, "event") {
				t.Errorf("the log has %s", line)
			}
		}
	})
}

// A Reason is a word in CamelCase, and says what kind of problem it is.
func TestEachReasonHasANameOfItsOwnForEvents(t *testing.T) {
	seen := map[string]sync.Reason{}
	for _, r := range append(sync.Reasons(), "unknown") {
		name := eventReason(r)
		if before, twice := seen[name]; twice {
			t.Errorf("%s is the name of %s and %s", name, before, r)
		}
		seen[name] = r
		if name == "" || strings.ContainsAny(name, " -_") || name[:1] != strings.ToUpper(name[:1]) {
			t.Errorf("%s is called %q, want CamelCase", r, name)
		}
	}
}

func TestLongMessageIsClipped(t *testing.T) {
	if text := strings.Repeat("x", maxEventMessage); clip(text, maxEventMessage) != text {
		t.Error("a message that is taken was changed")
	}
	text := clip(strings.Repeat("ä", maxEventMessage), maxEventMessage)
	if len(text) > maxEventMessage || !strings.HasSuffix(text, "ä...") {
		t.Errorf("%d bytes that end in %q", len(text), text[len(text)-8:])
	}
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, testOptions(), logr.Discard(), node("node-a"))
		c.start()
		c.tell(problem(sync.Conflict, strings.Repeat("ä", maxEventMessage)))
		if all := c.events(); len(all) != 1 || all[0].Message != text {
			t.Errorf("told were %v, want one that is clipped", all)
		}
	})
}
