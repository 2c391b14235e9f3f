package kube

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/kube-ipvs/kube-ipvs/sync/kube/apitest"
)

// saysBusy is a watch that begins well, and then says 429.
func saysBusy(retryAfter time.Duration) func(context.Context, metav1.ListOptions) (watch.Interface, error) {
	return func(context.Context, metav1.ListOptions) (watch.Interface, error) {
		w := watch.NewFakeWithChanSize(2, false)
		w.Error(&tooMany(retryAfter).ErrStatus)
		w.Add(webService("not to be seen", 30080))
		return w, nil
	}
}

// isBusy is a watch that does not begin.
func isBusy(retryAfter time.Duration) func(context.Context, metav1.ListOptions) (watch.Interface, error) {
	return func(context.Context, metav1.ListOptions) (watch.Interface, error) { return nil, tooMany(retryAfter) }
}

// tries are the times between the tries at an API server that has time at the last one, with a watch that is asked for again as a
// reflector does, at once.
func (r *reading) tries(answers ...func(context.Context, metav1.ListOptions) (watch.Interface, error)) []time.Duration {
	r.Helper()
	var times []time.Duration
	last := time.Now()
	r.onWatch = func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
		times = append(times, time.Since(last))
		last = time.Now()
		answer := answers[min(len(times), len(answers))-1]
		return answer(ctx, o)
	}
	for len(times) < len(answers) {
		w := r.begin(metav1.ListOptions{})
		if len(times) == len(answers) {
			w.Stop()
			break
		}
		if e, more := <-w.ResultChan(); more {
			r.Fatalf("passed on: %+v", e)
		}
	}
	return times[1:]
}

func between(t *testing.T, pause, least, most time.Duration) {
	t.Helper()
	if pause < least || pause > most {
		t.Errorf("a pause of %v, want %v to %v", pause, least, most)
	}
}

func TestPausesForABusyAPIServerDoubleUpToHalfAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReading(t)
		refused, ended := isBusy(0), saysBusy(0)
		pauses := r.tries(refused, ended, refused, ended, ended, refused, refused, ended, quiet)
		for i, least := range []time.Duration{1, 2, 4, 8, 16, 30, 30, 30} {
			between(t, pauses[i], least*time.Second, least*time.Second*3/2)
		}
		if r.busies != len(pauses) {
			t.Errorf("%d of %d were told", r.busies, len(pauses))
		}
		if pauses[5] == pauses[6] && pauses[6] == pauses[7] {
			t.Error("all nodes come back at once") // nothing of these pauses is chance
		}
	})
}

func TestABusyAPIServerIsLeftAloneAsLongAsItAsks(t *testing.T) {
	for name, answer := range map[string]func(time.Duration) func(context.Context, metav1.ListOptions) (watch.Interface, error){
		"refused": isBusy, "ended": saysBusy,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				pauses := newReading(t).tries(answer(20*time.Second), answer(20*time.Second), answer(time.Second), quiet)
				between(t, pauses[0], 20*time.Second, 30*time.Second)
				between(t, pauses[1], 20*time.Second, 30*time.Second)
				between(t, pauses[2], 4*time.Second, 6*time.Second) // ours, which is longer
			})
		})
	}
}

func TestAnAPIServerThatHadTimeForAMinuteIsNotBusyAnyMore(t *testing.T) {
	for wait, least := range map[time.Duration]time.Duration{59 * time.Second: 8, 61 * time.Second: 1} {
		synctest.Test(t, func(t *testing.T) {
			r := newReading(t)
			r.tries(isBusy(0), isBusy(0), isBusy(0), quiet)
			time.Sleep(wait)
			between(t, r.tries(isBusy(0), quiet)[0], least*time.Second, least*time.Second*3/2)
		})
	}
}

func TestAPauseEndsWithItsWatch(t *testing.T) {
	for name, end := range map[string]func(r *reading, w watch.Interface, cancel func()){
		"stopped":     func(_ *reading, w watch.Interface, _ func()) { w.Stop() },
		"listed anew": func(r *reading, _ watch.Interface, _ func()) { r.relist() },
		"at the end":  func(_ *reading, _ watch.Interface, cancel func()) { cancel() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newReading(t)
				ctx, cancel := context.WithCancel(t.Context())
				r.onWatch = saysBusy(time.Hour)
				w, err := r.watch(ctx, metav1.ListOptions{})
				must(t, err)
				time.Sleep(time.Minute)
				end(r, w, cancel)
				if took := elapsed(func() { <-w.ResultChan() }); took != 0 {
					t.Errorf("ends after %v", took)
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		r := newReading(t)
		r.onWatch = isBusy(time.Hour)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		took := elapsed(func() {
			if _, err := r.watch(ctx, metav1.ListOptions{}); !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
		})
		if took != time.Minute {
			t.Errorf("ends after %v", took)
		}
	})
}

func TestABusyAPIServerIsToldInTheLogAndItsConnectionGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &logLines{}
		from := watch.NewFakeWithChanSize(1, false)
		from.Error(&tooMany(0).ErrStatus)
		r := newReader(NewInformers(Client{}, testOptions(), log.logger()), kindServices, &answering{
			onWatch: func(context.Context, metav1.ListOptions) (watch.Interface, error) { return from, nil },
		}, selectSlices)
		w, err := r.watch(t.Context(), metav1.ListOptions{})
		must(t, err)
		synctest.Wait()
		if !log.has("trying again") || !log.has("busy") {
			t.Errorf("%v", log.lines)
		}
		if !from.IsStopped() {
			t.Error("the connection is kept through the pause")
		}
		w.Stop()
	})
}

func TestTheQuestionForTheVersionIsRepeatedWhenTheAPIServerHasTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReading(t)
		r.onList = func(ctx context.Context, o metav1.ListOptions) (*corev1.ServiceList, error) {
			if len(r.asked) == 1 {
				return nil, tooMany(5 * time.Second)
			}
			return hasVersion("9")(ctx, o)
		}
		between(t, elapsed(func() { r.begin(since("7")) }), 5*time.Second, 7500*time.Millisecond)
		r.expectAsked("version", "version", "watch 7")
	})
}

// Without that a streaming list that says 429 is asked for after up to a minute, whatever the server asks for (client-go v0.37, watchList).
func TestAStreamingListThatEndsWith429IsAskedForAgainWhenTheServerSaid(t *testing.T) {
	for _, retryAfter := range []time.Duration{time.Second, 5 * time.Second, 40 * time.Second} {
		t.Run(retryAfter.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := apiServer(t, node("node-a", "10.1.0.10"), apiWeb(), apiSlice("10.0.0.1"))
				s.Fail("", apitest.ErrorEvent(429, retryAfter))
				a := startAgent(t, s)
				synctest.Wait()
				asked := s.Asked()
				time.Sleep(retryAfter - time.Millisecond)
				synctest.Wait()
				for what, n := range s.Asked() {
					if n != asked[what] {
						t.Errorf("%s: asked %d times before Retry-After was over", what, n-asked[what])
					}
				}
				s.Fail("", nil)
				took := a.within(retryAfter/2+100*time.Millisecond, serving("10.0.0.1"))
				t.Logf("served %v after Retry-After was over", took)
				if lists := s.Asked()["list services"]; lists != 0 {
					t.Errorf("%d lists instead of the stream", lists)
				}
			})
		})
	}
}
