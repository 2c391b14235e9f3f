package kube

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kube-ipvs/kube-ipvs/sync"
)

// standardInput is the name of "-" in problems.
const standardInput = "standard input"

// Manifests is the source that reads files: a file, the *.yaml, *.yml and *.json files of a directory (not of its
// subdirectories, and not hidden ones), or "-" for the standard input, which is read once. Files are followed live.
//
// A broken file keeps in force what it said before (see file); a path that cannot be listed keeps everything.
type Manifests struct {
	*State
	path  string
	stdin io.Reader
	log   logr.Logger

	// final: path is read only once.
	final bool

	// All below is used by the goroutine of Run alone.
	files   files
	applied map[objectKey]object
	// listed: path could be listed once.
	listed bool
}

var _ sync.Source = (*Manifests)(nil)

// NewManifests makes the source; stdin is read if path is "-".
func NewManifests(path string, stdin io.Reader, o Options, log logr.Logger) *Manifests {
	if path != "-" {
		path = filepath.Clean(path)
	}
	info, err := os.Stat(path)
	pipe := err == nil && !info.IsDir() && !info.Mode().IsRegular()
	return &Manifests{
		State:   newState(o, "it is not in the manifests"),
		path:    path,
		stdin:   stdin,
		log:     log,
		final:   path == "-" || pipe,
		files:   files{},
		applied: map[objectKey]object{},
	}
}

// ReadManifests reads path once and says all there is: for planning. The error says that nothing could be read, or that
// nothing of what was read concerns us: input that was lost on the way is not a node that serves nothing.
func ReadManifests(path string, stdin io.Reader, o Options) (sync.Update, error) {
	m := NewManifests(path, stdin, o, logr.Discard())
	m.final = true
	if _, err := m.scan(time.Now()); err != nil {
		return sync.Update{}, err
	}
	m.change(m.setSynced)
	update, _ := m.Next()
	if len(m.files) == 0 {
		return sync.Update{}, fmt.Errorf("no *.yaml, *.yml or *.json file in %s", path)
	}
	if len(m.applied) == 0 {
		if !update.Incomplete {
			return sync.Update{}, fmt.Errorf("no Service, EndpointSlice or Node in %s", m.place())
		}
		var errs []error
		for _, p := range m.problems {
			errs = append(errs, errors.New(p.String()))
		}
		return sync.Update{}, errors.Join(errs...)
	}
	return update, nil
}

// place names the path for people.
func (m *Manifests) place() string {
	if m.path == "-" {
		return standardInput
	}
	return m.path
}

// Run is that of sync.Source. It fails in no case: what cannot be read is a problem in the Update and read again.
func (m *Manifests) Run(ctx context.Context) error {
	if m.final {
		go m.rescan(time.Now()) // A pipe that nobody closes must not keep the agent from ending.
		<-ctx.Done()
		return nil
	}
	w := newPathWatch(m.path, m.log)
	defer w.close()
	for {
		w.renew() // Before reading, so that what changes meanwhile is not missed.
		if again := m.rescan(time.Now()); !w.wait(ctx, again) {
			return nil
		}
	}
}

// rescan reads everything and hands it over, also if it is nothing: then the problems say why.
func (m *Manifests) rescan(now time.Time) (again time.Time) {
	again, err := m.scan(now)
	if err != nil {
		_, problems, incomplete := m.files.content()
		problems = append(problems, unreadable(m.path, err, m.listed))
		m.change(func() { m.setInput(problems, incomplete || !m.listed) })
	}
	m.change(m.setSynced)
	return again
}

// scan reads the files and hands over what changed. An error means that the path cannot be listed, and that nothing was
// handed over. again, if not zero, is when to scan again although nothing seems to change.
func (m *Manifests) scan(now time.Time) (again time.Time, err error) {
	manifests, err := m.list()
	if err != nil {
		return time.Time{}, err
	}
	m.listed = true
	present := map[string]bool{}
	for _, manifest := range manifests {
		content, err := m.read(manifest.path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		present[manifest.name] = true
		f := m.files.get(manifest.name, m.final)
		if err != nil {
			f.unreadable(err)
			continue
		}
		again = earlier(again, f.take(content, now))
	}
	again = earlier(again, m.files.keep(present, now))
	objects, problems, incomplete := m.files.content()
	// At once, so that an endpoint which only moves to another slice is never missing.
	m.change(func() {
		m.apply(objects)
		m.setInput(problems, incomplete)
	})
	return again, nil
}

// manifest is a file by its name for people and where to read it.
type manifest struct{ name, path string }

func (m *Manifests) list() ([]manifest, error) {
	if m.path == "-" {
		return []manifest{{standardInput, m.path}}, nil
	}
	info, err := os.Stat(m.path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []manifest{{filepath.Base(m.path), m.path}}, nil
	}
	entries, err := os.ReadDir(m.path)
	if err != nil {
		return nil, err
	}
	var manifests []manifest
	for _, e := range entries {
		if path := filepath.Join(m.path, e.Name()); isManifest(e.Name()) && isFile(path, e) {
			manifests = append(manifests, manifest{e.Name(), path})
		}
	}
	return manifests, nil
}

// isManifest tells manifests from hidden files and from what editors leave: .web.yaml.swp, web.yaml~, #web.yaml#.
func isManifest(name string) bool {
	if strings.HasPrefix(name, ".") || strings.HasPrefix(name, "~") || strings.HasPrefix(name, "#") {
		return false
	}
	switch filepath.Ext(name) {
	case ".yaml", ".yml", ".json":
		return true
	}
	return false
}

// isFile follows symbolic links, of which a mounted ConfigMap consists. A link into nothing is a file that vanished.
func isFile(path string, e fs.DirEntry) bool {
	if e.Type()&fs.ModeSymlink == 0 {
		return e.Type().IsRegular()
	}
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

func (m *Manifests) read(path string) ([]byte, error) {
	if path == "-" {
		return io.ReadAll(m.stdin)
	}
	return os.ReadFile(path)
}

// apply hands over the difference between objects and what was handed over before. An object of a file that did not
// change is the same pointer, so a change in one file concerns that file's Services only.
func (m *Manifests) apply(objects map[objectKey]object) {
	for key, o := range objects {
		if m.applied[key].value != o.value {
			m.set(o)
		}
	}
	for key := range m.applied {
		if _, there := objects[key]; !there {
			m.remove(key)
		}
	}
	m.applied = objects
}

func (m *Manifests) set(o object) {
	switch value := o.value.(type) {
	case *corev1.Service:
		m.setService(value)
	case *discoveryv1.EndpointSlice:
		m.setSlice(value)
	case *corev1.Node:
		m.setNode(value)
		m.setNodeLabels(value.Name, value.Labels)
	}
}

func (m *Manifests) remove(key objectKey) {
	name := types.NamespacedName{Namespace: key.namespace, Name: key.name}
	switch key.kind {
	case kindService:
		m.deleteService(name)
	case kindEndpointSlice:
		m.deleteSlice(name)
	case kindNode:
		m.deleteNode(name)
		m.deleteNodeLabels(name.Name)
	}
}
