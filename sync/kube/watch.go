package kube

import (
	"context"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/go-logr/logr"
)

const (
	// settle is how long a path must be quiet before it is read: a file is written in several steps.
	settle = 50 * time.Millisecond
	// maxSettle bounds the wait for a path that never is quiet.
	maxSettle = 500 * time.Millisecond
	// lookAgain finds what no notification tells: network file systems, a link further up in the path.
	lookAgain = 20 * time.Second
)

// pathWatch waits for changes of a file, or of a directory and the files in it.
type pathWatch struct {
	path string
	log  logr.Logger
	// watcher is nil where the kernel grants no further one.
	watcher *fsnotify.Watcher
}

func newPathWatch(path string, log logr.Logger) *pathWatch {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		log.Error(err, "Manifests are not watched but read again from time to time", "path", path, "period", lookAgain)
	}
	return &pathWatch{path: path, log: log, watcher: watcher}
}

func (p *pathWatch) close() {
	if p.watcher != nil {
		_ = p.watcher.Close()
	}
}

// renew watches what stands at the path now. A watch follows the directory itself, which may have been replaced; the
// one on the parent tells when that happens, and it is what tells about a single file.
func (p *pathWatch) renew() {
	if p.watcher == nil {
		return
	}
	for _, path := range []string{filepath.Dir(p.path), p.path} {
		_ = p.watcher.Remove(path) // It is not watched, or not any more: either way the next line decides.
		if err := p.watcher.Add(path); err != nil {
			p.log.V(4).Info("Path is not watched", "path", path, "reason", err.Error())
		}
	}
}

// wait returns true when the path may have changed, at the time again if that is not zero, or after lookAgain; false
// when ctx has ended.
func (p *pathWatch) wait(ctx context.Context, again time.Time) bool {
	patience := lookAgain
	if !again.IsZero() {
		patience = min(patience, max(0, time.Until(again)))
	}
	expired := time.NewTimer(patience)
	defer expired.Stop()
	var events <-chan fsnotify.Event
	var errs <-chan error
	if p.watcher != nil {
		events, errs = p.watcher.Events, p.watcher.Errors
	}
	for {
		select {
		case <-ctx.Done():
			return false
		case <-expired.C:
			return true
		case err := <-errs: // Events were lost, mostly: the queue is bounded.
			p.log.V(2).Info("Watching manifests was interrupted", "path", p.path, "reason", err.Error())
			return true
		case e := <-events:
			if p.concerns(e) {
				return p.settle(ctx, events)
			}
		}
	}
}

// concerns leaves out the neighbours of the path in its parent directory, except ..data, which is the link that the
// kubelet swaps when a ConfigMap changes.
func (p *pathWatch) concerns(e fsnotify.Event) bool {
	name := filepath.Clean(e.Name)
	if name == p.path || filepath.Base(name) == "..data" {
		return true
	}
	return filepath.Dir(name) == p.path
}

func (p *pathWatch) settle(ctx context.Context, events <-chan fsnotify.Event) bool {
	latest := time.NewTimer(maxSettle)
	defer latest.Stop()
	for {
		quiet := time.NewTimer(settle)
		select {
		case <-ctx.Done():
			quiet.Stop()
			return false
		case <-latest.C:
			quiet.Stop()
			return true
		case <-quiet.C:
			return true
		case <-events:
			quiet.Stop()
		}
	}
}
