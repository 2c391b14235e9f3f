package kube

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/util/flowcontrol"
)

const (
	// listPatience bounds a list. An API server ends one after a minute, unless it is told otherwise (--request-timeout).
	listPatience = 5 * time.Minute
	// watchMargin is what a watch may take beyond the time that it was asked for, 5 to 10 minutes: lastWatch.
	watchMargin = 30 * time.Second
	lastWatch   = 10 * time.Minute
	// versionPatience bounds the question for the API server's version.
	versionPatience = 10 * time.Second

	// At most so many watches begin in a row, and then one in a second.
	watchBurst = 10
)

// reader reads one kind for a reflector of client-go, and keeps from it what it cannot bear (v0.37):
//   - It waits for ever for an answer that was begun, or a watch that outlives its own timeout.
//   - It sleeps through the end of its context when an API server is busy (429), and does not heed when to ask again (Retry-After).
//   - It asks again at once, and again, when a streaming list ends with 410.
//   - It resumes a watch from a version that an API server does not have any more, after a backup of etcd was restored. That
//     is silent until the server gets there, and what happened before is never told.
type reader[L runtime.Object] struct {
	from     Lister[L]
	selected func(*metav1.ListOptions)
	pace     flowcontrol.RateLimiter
	// busy is told that the API server has no time.
	busy   func(error)
	pauses busyPauses
	// wentBack is told what was seen of an API server and what it has now.
	wentBack func(seen, has string)
	// listed is the version of a list that no watch went on from yet; forget: what was seen is from before a backup was restored.
	listed atomic.Pointer[string]
	forget atomic.Bool
	// end ends the present watch, if there is one.
	end atomic.Pointer[context.CancelFunc]
}

func newReader[L runtime.Object](i *Informers, kind string, from Lister[L], selected func(*metav1.ListOptions)) *reader[L] {
	r := &reader[L]{
		from: from, selected: selected, pace: flowcontrol.NewTokenBucketRateLimiter(1, watchBurst),
		busy: func(err error) { i.watchFailed(kind, err) },
	}
	r.wentBack = func(seen, has string) {
		i.log.Info("API server is older than it was, as after a backup was restored: listing everything again",
			"noticedBy", kind, "seen", seen, "now", has)
		i.readers.restored()
	}
	i.readers.add(r.relist)
	return r
}

// readers are all readers of an API server.
type readers struct {
	mu     sync.Mutex
	relist []func()
}

func (r *readers) add(relist func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.relist = append(r.relist, relist)
}

// restored has all kinds listed again. One that was seen less of than the restored server has written since would not notice.
func (r *readers) restored() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, relist := range r.relist {
		relist()
	}
}

// relist ends the watch, and has the next one begin with a list.
func (r *reader[L]) relist() {
	r.forget.Store(true)
	if end := r.end.Load(); end != nil {
		(*end)()
	}
}

func (r *reader[L]) list(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
	ctx, cancel := context.WithTimeout(ctx, listPatience)
	defer cancel()
	r.selected(&o)
	o, anew := r.notBefore(o)
	list, err := r.from.List(ctx, o)
	if err != nil {
		r.again(anew)
		return nil, err
	}
	if version, err := versionOf(list); err == nil {
		r.listed.Store(&version)
	}
	return list, nil
}

func (r *reader[L]) watch(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
	r.selected(&o)
	if err := r.pace.Wait(ctx); err != nil {
		return nil, err
	}
	timeout := lastWatch
	if o.TimeoutSeconds != nil {
		timeout = time.Duration(*o.TimeoutSeconds) * time.Second
	}
	listens, stop := context.WithCancel(ctx)
	limited, end := context.WithTimeout(listens, timeout+watchMargin)
	r.end.Store(&end)
	w, err := r.begin(limited, o)
	if err != nil {
		stop()
		return nil, err
	}
	open := &openWatch{w, make(chan watch.Event), stop}
	go open.passOn(listens, limited, r.pause)
	return open, nil
}

// begin begins a watch: one that resumes, or one that is a list too.
func (r *reader[L]) begin(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
	if o.SendInitialEvents == nil && o.ResourceVersion != "" && o.ResourceVersion != "0" {
		return r.patiently(ctx, o, r.resume)
	}
	o, anew := r.notBefore(o)
	w, err := r.patiently(ctx, o, r.from.Watch)
	if err != nil {
		r.again(anew)
	}
	return w, err
}

// patiently begins a watch once the API server has time.
func (r *reader[L]) patiently(
	ctx context.Context, o metav1.ListOptions, begin func(context.Context, metav1.ListOptions) (watch.Interface, error),
) (watch.Interface, error) {
	for {
		w, err := begin(ctx, o)
		if err == nil || !apierrors.IsTooManyRequests(err) {
			return w, err
		}
		if err := r.pause(ctx, err); err != nil {
			return nil, err
		}
	}
}

// resume begins a watch that goes on from what was seen, unless that is from before a backup was restored.
func (r *reader[L]) resume(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
	if !r.wasListed(o.ResourceVersion) && !r.forget.Load() {
		if err := r.compare(ctx, o.ResourceVersion); err != nil {
			return nil, err
		}
	}
	if r.forget.Load() {
		return nil, apierrors.NewResourceExpired("version " + o.ResourceVersion + " is from before the API server was restored")
	}
	return r.from.Watch(ctx, o)
}

// notBefore has no version in it if the API server went back before the one that was seen, and says so.
func (r *reader[L]) notBefore(o metav1.ListOptions) (_ metav1.ListOptions, anew bool) {
	if anew = o.Continue == "" && r.forget.Swap(false); anew {
		o.ResourceVersion = ""
	}
	return o, anew
}

// again has the next list be like one that failed.
func (r *reader[L]) again(anew bool) {
	if anew {
		r.forget.Store(true)
	}
}

// wasListed reports whether a version is that of the last list. A list counts for one watch.
func (r *reader[L]) wasListed(version string) bool {
	listed := r.listed.Swap(nil)
	return listed != nil && *listed == version
}

// compare asks which version the API server has, by its list of one object. If it is one before what was seen, that is to be forgotten.
// Without an answer no watch may begin: one that has just started may refuse lists, and take watches of a version that it does not have.
func (r *reader[L]) compare(ctx context.Context, seen string) error {
	ctx, cancel := context.WithTimeout(ctx, versionPatience)
	defer cancel()
	list, err := r.from.List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil {
		return err
	}
	has, err := versionOf(list)
	if err == nil && less(has, seen) {
		r.wentBack(seen, has)
	}
	return err
}

func versionOf(list runtime.Object) (string, error) {
	m, err := meta.ListAccessor(list)
	if err != nil {
		return "", err
	}
	return m.GetResourceVersion(), nil
}

// less is false for versions that are no numbers.
func less(a, b string) bool {
	x, errA := strconv.ParseUint(a, 10, 64)
	y, errB := strconv.ParseUint(b, 10, 64)
	return errA == nil && errB == nil && x < y
}
