package kube

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// answering answers what a reader asks. What it was asked is in asked.
type answering struct {
	onList  func(ctx context.Context, o metav1.ListOptions) (*corev1.ServiceList, error)
	onWatch func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error)
	asked   []string
}

// List is that of Lister.
func (s *answering) List(ctx context.Context, o metav1.ListOptions) (*corev1.ServiceList, error) {
	entry := "list " + o.ResourceVersion + unselected(o)
	if o.Limit != 0 {
		entry = "version"
		if (o != metav1.ListOptions{Limit: 1}) {
			entry += " " + o.String()
		}
	}
	s.asked = append(s.asked, entry)
	return s.onList(ctx, o)
}

// Watch is that of Lister.
func (s *answering) Watch(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
	s.asked = append(s.asked, "watch "+o.ResourceVersion+unselected(o))
	return s.onWatch(ctx, o)
}

// unselected says so of a request for more than was selected.
func unselected(o metav1.ListOptions) string {
	if o.LabelSelector != "selected" {
		return " of all"
	}
	return ""
}

// reading is a reader in a bubble of synctest, and what it reads from.
type reading struct {
	*testing.T
	*answering
	*reader[*corev1.ServiceList]
	all    *Informers
	busies int
}

func newReading(t *testing.T) *reading {
	r := &reading{T: t, all: NewInformers(Client{}, testOptions(), logr.Discard())}
	r.answering = &answering{onList: hasVersion("7"), onWatch: quiet}
	r.reader = newReader(r.all, kindServices, r.answering, func(o *metav1.ListOptions) { o.LabelSelector = "selected" })
	r.busy = func(error) { r.busies++ }
	return r
}

func hasVersion(version string) func(context.Context, metav1.ListOptions) (*corev1.ServiceList, error) {
	return func(context.Context, metav1.ListOptions) (*corev1.ServiceList, error) {
		return &corev1.ServiceList{ListMeta: metav1.ListMeta{ResourceVersion: version}}, nil
	}
}

// quiet is a watch that says nothing until its context ends, as one over HTTP does.
func quiet(ctx context.Context, _ metav1.ListOptions) (watch.Interface, error) {
	w := watch.NewFake()
	context.AfterFunc(ctx, w.Stop)
	return w, nil
}

// hangs never answers.
func hangs[T any](ctx context.Context, _ metav1.ListOptions) (none T, _ error) { //nolint:unparam // the shape of a list and of a watch
	<-ctx.Done()
	return none, ctx.Err()
}

func tooMany(retryAfter time.Duration) *apierrors.StatusError {
	return apierrors.NewTooManyRequests("busy", int(retryAfter.Seconds()))
}

// begin begins a watch, which must succeed.
func (r *reading) begin(o metav1.ListOptions) watch.Interface {
	r.Helper()
	w, err := r.watch(r.Context(), o)
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(w.Stop)
	return w
}

func since(version string) metav1.ListOptions { return metav1.ListOptions{ResourceVersion: version} }

func (r *reading) expectAsked(want ...string) {
	r.Helper()
	if diff := cmp.Diff(want, r.asked); diff != "" {
		r.Errorf("asked (-want +got):\n%s", diff)
	}
	r.asked = nil
}

// elapsed is how long f takes.
func elapsed(f func()) time.Duration {
	began := time.Now()
	f()
	return time.Since(began)
}

func TestAListIsGivenUpAfterFiveMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReading(t)
		r.onList = hangs[*corev1.ServiceList]
		took := elapsed(func() {
			if _, err := r.list(t.Context(), metav1.ListOptions{}); !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
		})
		if took != 5*time.Minute {
			t.Errorf("given up after %v", took)
		}
	})
}

func TestAWatchIsGivenUpHalfAMinuteAfterTheTimeThatItWasAskedFor(t *testing.T) {
	for asked, want := range map[time.Duration]time.Duration{
		0: 10*time.Minute + 30*time.Second, 7 * time.Minute: 7*time.Minute + 30*time.Second,
	} {
		t.Run(asked.String(), func(t *testing.T) {
			var o metav1.ListOptions
			if asked != 0 {
				o.TimeoutSeconds = ptr(int64(asked.Seconds()))
			}
			synctest.Test(t, func(t *testing.T) {
				r := newReading(t)
				w := r.begin(o)
				if took := elapsed(func() { <-w.ResultChan() }); took != want {
					t.Errorf("a silent one ends after %v", took)
				}
				r.onWatch = hangs[watch.Interface]
				took := elapsed(func() {
					if _, err := r.watch(t.Context(), o); !errors.Is(err, context.DeadlineExceeded) {
						t.Error(err)
					}
				})
				if took != want {
					t.Errorf("one that is never answered ends after %v", took)
				}
			})
		})
	}
}

func TestTenWatchesBeginInARowAndThenOneInASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReading(t)
		var took []time.Duration
		for range 13 {
			took = append(took, elapsed(func() { r.begin(metav1.ListOptions{}) }).Round(time.Millisecond))
		}
		want := append(make([]time.Duration, 10), time.Second, time.Second, time.Second)
		if !slices.Equal(took, want) {
			t.Errorf("%v, want %v", took, want)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := r.watch(ctx, metav1.ListOptions{}); err == nil {
			t.Error("a watch begins after the end")
		}
	})
}

func TestWhatAWatchSaysIsPassedOnUntilNobodyListens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReading(t)
		from := watch.NewFake()
		var ctx context.Context
		r.onWatch = func(c context.Context, _ metav1.ListOptions) (watch.Interface, error) { ctx = c; return from, nil }
		w := r.begin(metav1.ListOptions{})
		expired := apierrors.NewResourceExpired("old")
		go func() {
			from.Add(webService("web", 30080))
			from.Error(&expired.ErrStatus)
			from.Add(webService("nobody listens", 30080))
		}()
		if e := <-w.ResultChan(); e.Type != watch.Added || e.Object.(*corev1.Service).Name != "web" {
			t.Errorf("%+v", e)
		}
		if e := <-w.ResultChan(); e.Type != watch.Error || !apierrors.IsResourceExpired(apierrors.FromObject(e.Object)) {
			t.Errorf("%+v", e)
		}
		synctest.Wait()
		w.Stop() // or else the bubble does not end
		if ctx.Err() == nil || !from.IsStopped() {
			t.Error("the watch goes on")
		}
		synctest.Wait()
		if _, more := <-w.ResultChan(); more {
			t.Error("the channel is not closed")
		}
	})
}

func TestAWatchThatFailedLeavesNothingBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReading(t)
		var ctx context.Context
		r.onWatch = func(c context.Context, _ metav1.ListOptions) (watch.Interface, error) {
			ctx = c
			return nil, errors.New("refused")
		}
		if _, err := r.watch(t.Context(), metav1.ListOptions{}); err == nil {
			t.Error("no error")
		}
		if ctx.Err() == nil {
			t.Error("its context goes on")
		}
	})
}

func TestWhyAnOverdueWatchEndedIsPassedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReading(t)
		r.onWatch = func(ctx context.Context, _ metav1.ListOptions) (watch.Interface, error) {
			w := watch.NewFake()
			context.AfterFunc(ctx, func() { w.Error(&apierrors.NewInternalError(ctx.Err()).ErrStatus) })
			return w, nil
		}
		for range 20 {
			w := r.begin(metav1.ListOptions{})
			if e := <-w.ResultChan(); e.Type != watch.Error {
				t.Fatalf("%+v", e)
			}
		}
	})
}

func TestAWatchIsResumedOnceTheVersionOfTheAPIServerIsKnown(t *testing.T) {
	for _, c := range []struct {
		name    string
		options metav1.ListOptions
		has     string
		asked   []string
		gone    bool
	}{
		{"ahead of what was seen", since("9"), "10", []string{"version", "watch 9"}, false},
		{"at what was seen", since("9"), "9", []string{"version", "watch 9"}, false},
		{"behind what was seen", since("10"), "9", []string{"version"}, true},
		{"in words", since("10"), "nine", []string{"version", "watch 10"}, false},
		{"and seen in words", since("ten"), "9", []string{"version", "watch ten"}, false},
		{"from the start", since("0"), "9", []string{"watch 0"}, false},
		{"from whatever there is", since(""), "9", []string{"watch "}, false},
		{"streaming", metav1.ListOptions{ResourceVersion: "10", SendInitialEvents: ptr(true)}, "9", []string{"watch 10"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newReading(t)
				r.onList = hasVersion(c.has)
				w, err := r.watch(t.Context(), c.options)
				if gone := apierrors.IsResourceExpired(err); gone != c.gone || (err != nil) != c.gone {
					t.Errorf("%v", err)
				}
				if err == nil {
					w.Stop()
				}
				r.expectAsked(c.asked...)
			})
		})
	}
}

func TestAListCountsForOneWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReading(t)
		_, err := r.list(t.Context(), since("0"))
		must(t, err)
		r.begin(since("7"))
		r.expectAsked("list 0", "watch 7")
		r.begin(since("7"))
		r.expectAsked("version", "watch 7")
		_, err = r.list(t.Context(), since("7"))
		must(t, err)
		r.begin(since("6")) // another one than was listed
		r.expectAsked("list 7", "version", "watch 6")
	})
}

func TestAListThatFailedCountsForNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReading(t)
		r.onList = func(context.Context, metav1.ListOptions) (*corev1.ServiceList, error) {
			return &corev1.ServiceList{ListMeta: metav1.ListMeta{ResourceVersion: "7"}}, errors.New("half an answer")
		}
		if list, err := r.list(t.Context(), since("0")); err == nil || list != nil {
			t.Errorf("%v, %v", list, err)
		}
		r.onList = hasVersion("7")
		r.begin(since("7"))
		r.expectAsked("list 0", "version", "watch 7")
	})
}

func TestWithoutTheVersionOfTheAPIServerNoWatchBegins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReading(t)
		r.onList = hangs[*corev1.ServiceList]
		took := elapsed(func() {
			if _, err := r.watch(t.Context(), since("7")); !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
		})
		if took != 10*time.Second {
			t.Errorf("given up after %v", took)
		}
		r.expectAsked("version")
	})
}

func TestAfterARestoreEveryKindListsOnceWithoutAVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, list := range map[string]func(*reading, metav1.ListOptions){
			"list": func(r *reading, o metav1.ListOptions) { _, err := r.list(r.Context(), o); must(r.T, err) },
			"watch": func(r *reading, o metav1.ListOptions) {
				o.SendInitialEvents = ptr(true)
				r.begin(o)
			},
		} {
			r := newReading(t)
			w := r.begin(since(""))
			other := &answering{onList: hasVersion("3")}
			_, err := newReader(r.all, kindEndpointSlices, other, selectSlices).watch(t.Context(), since("9"))
			if !apierrors.IsResourceExpired(err) {
				t.Errorf("%v", err)
			}
			synctest.Wait()
			if _, more := <-w.ResultChan(); more {
				t.Error("the watch goes on")
			}
			r.expectAsked("watch ")
			if _, err := r.watch(t.Context(), since("9")); !apierrors.IsResourceExpired(err) {
				t.Errorf("%v", err)
			}
			r.expectAsked() // not even for the version
			if name == "list" {
				list(r, metav1.ListOptions{ResourceVersion: "9", Continue: "page 2"}) // of a list that had begun before
				r.expectAsked("list 9")
			}
			list(r, since("9"))
			list(r, since("9"))
			r.expectAsked(name+" ", name+" 9")
		}
	})
}

func TestWhatFailsAfterARestoreIsAskedForWithoutAVersionAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, list := range map[string]func(*reading, metav1.ListOptions) error{
			"list": func(r *reading, o metav1.ListOptions) error { _, err := r.list(r.Context(), o); return err },
			"watch": func(r *reading, o metav1.ListOptions) error {
				o.SendInitialEvents = ptr(true)
				w, err := r.watch(r.Context(), o)
				if err == nil {
					r.Cleanup(w.Stop)
				}
				return err
			},
		} {
			r := newReading(t)
			r.relist()
			onList, onWatch, ill := r.onList, r.onWatch, errors.New("just restored, and ill")
			r.onList = func(context.Context, metav1.ListOptions) (*corev1.ServiceList, error) { return nil, ill }
			r.onWatch = func(context.Context, metav1.ListOptions) (watch.Interface, error) { return nil, ill }
			for range 2 {
				if err := list(r, since("9")); !errors.Is(err, ill) {
					t.Errorf("%s: %v", name, err)
				}
			}
			r.onList, r.onWatch = onList, onWatch
			for range 2 {
				must(t, list(r, since("9")))
			}
			r.expectAsked(name+" ", name+" ", name+" ", name+" 9")
		}
	})
}
