package apitest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/watch"
)

// Resources that the server has.
const (
	Services       = "services"
	EndpointSlices = "endpointslices"
	Nodes          = "nodes"
)

// Object is any that the server has.
type Object interface {
	runtime.Object
	metav1.Object
}

// Server is an API server. Its methods may be called by several goroutines.
type Server struct {
	codecs   serializer.CodecFactory
	listener *pipes
	http     *http.Server

	mu      sync.Mutex
	version uint64
	// compacted is the version up to which events are forgotten.
	compacted uint64
	objects   map[name]Object
	events    []event
	// changed is closed, and another one put in its place, at every change of anything here.
	changed chan struct{}
	// life is what watches belong to; those of another life end. A watch that ends so has no error.
	life   int
	silent bool
	// streams and bookmarks: the server has streaming lists, and sends bookmarks.
	streams, bookmarks bool
	faults             map[string]Fault
	asked              map[string]int
}

type name struct{ resource, namespace, name string }

type event struct {
	kind    watch.EventType
	name    name
	object  Object
	version uint64
	// before are the labels that the object had.
	before labels.Set
}

// Backup is what a Server had at some time.
type Backup struct {
	version uint64
	objects map[name]Object
}

// Start starts a server that Close ends.
func Start() (*Server, error) {
	kinds := runtime.NewScheme()
	metav1.AddToGroupVersion(kinds, schema.GroupVersion{Version: "v1"})
	if err := errors.Join(corev1.AddToScheme(kinds), discoveryv1.AddToScheme(kinds)); err != nil {
		return nil, err
	}
	s := &Server{
		codecs: serializer.NewCodecFactory(kinds), listener: newPipes(), version: 100,
		objects: map[name]Object{}, changed: make(chan struct{}), streams: true, bookmarks: true,
		faults: map[string]Fault{}, asked: map[string]int{},
	}
	s.http = &http.Server{Handler: http.HandlerFunc(s.serve)} //nolint:gosec // slow clients are not what is tested
	go func() { _ = s.http.Serve(s.listener) }()
	return s, nil
}

// Dial connects to the server, whatever the address.
func (s *Server) Dial(ctx context.Context, _, _ string) (net.Conn, error) {
	return s.listener.dial(ctx)
}

// Close ends the server and all connections.
func (s *Server) Close() error {
	s.EndWatches()
	return s.http.Close()
}

// change makes a change and wakes the watches.
func (s *Server) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	close(s.changed)
	s.changed = make(chan struct{})
}

// Set creates or updates objects.
func (s *Server) Set(objects ...Object) {
	s.change(func() {
		for _, o := range objects {
			s.set(o)
		}
	})
}

func (s *Server) set(given Object) {
	o := given.DeepCopyObject().(Object) //nolint:errcheck // a copy is of the same kind
	n := nameOf(o)
	s.version++
	o.SetResourceVersion(strconv.FormatUint(s.version, 10))
	e := event{kind: watch.Added, name: n, object: o, version: s.version}
	if before, known := s.objects[n]; known {
		e.kind, e.before = watch.Modified, before.GetLabels()
		if o.GetUID() == "" {
			o.SetUID(before.GetUID())
		}
	}
	s.objects[n] = o
	s.events = append(s.events, e)
}

// Delete deletes objects.
func (s *Server) Delete(objects ...Object) {
	s.change(func() {
		for _, o := range objects {
			n := nameOf(o)
			if had, known := s.objects[n]; known {
				s.version++
				delete(s.objects, n)
				gone := had.DeepCopyObject().(Object) //nolint:errcheck // a copy is of the same kind
				gone.SetResourceVersion(strconv.FormatUint(s.version, 10))
				s.events = append(s.events, event{kind: watch.Deleted, name: n, object: gone, version: s.version})
			}
		}
	})
}

// Send sends an event that nothing happened for, such as one that came already. The object keeps the version it has.
func (s *Server) Send(kind watch.EventType, o Object) {
	s.change(func() {
		s.version++
		s.events = append(s.events, event{kind: kind, name: nameOf(o), object: o, version: s.version})
	})
}

// Get is an object as the server has it.
func (s *Server) Get(like Object) Object {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.objects[nameOf(like)].DeepCopyObject().(Object) //nolint:errcheck // a copy is of the same kind
}

// Backup is what the server has now.
func (s *Server) Backup() Backup {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Backup{s.version, maps.Clone(s.objects)}
}

// Restore makes the server have what it had, and its version. Watches end in order, connections stay.
func (s *Server) Restore(b Backup) {
	s.change(func() {
		s.version, s.compacted, s.objects, s.events = b.version, b.version, maps.Clone(b.objects), nil
		s.life++
	})
}

// Empty is a backup from before there was anything.
func Empty() Backup { return Backup{version: 1} }

// Compact forgets all events, as a server does every few minutes.
func (s *Server) Compact() { s.change(func() { s.compacted, s.events = s.version, nil }) }

// EndWatches ends all watches in order.
func (s *Server) EndWatches() { s.change(func() { s.life++ }) }

// Break resets all connections.
func (s *Server) Break() { s.listener.reset() }

// Refuse makes the server refuse connections, or not any more. Those there are break.
func (s *Server) Refuse(refuse bool) { s.listener.refuse(refuse) }

// UseTLS wraps new connections; nil does not. Those there are break.
func (s *Server) UseTLS(config *tls.Config) { s.listener.use(config) }

// Silence keeps watches from saying anything, as if packets were lost, or lets them go on.
func (s *Server) Silence(silent bool) { s.change(func() { s.silent = silent }) }

// WithoutStreams makes a server that knows no streaming lists.
func (s *Server) WithoutStreams() { s.change(func() { s.streams = false }) }

// WithoutBookmarks makes a server that sends no bookmarks but those that end a list.
func (s *Server) WithoutBookmarks() { s.change(func() { s.bookmarks = false }) }

// Fail has a fault happen to every request for the resource, or for all of them if that is "". Nil is no fault.
func (s *Server) Fail(resource string, f Fault) { s.change(func() { s.faults[resource] = f }) }

// Asked is how many requests there were, by "list services", "watch nodes" and so on; a streaming list is a "stream".
func (s *Server) Asked() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.asked)
}

func nameOf(o Object) name {
	n := name{namespace: o.GetNamespace(), name: o.GetName()}
	switch o.(type) {
	case *corev1.Service:
		n.resource = Services
	case *discoveryv1.EndpointSlice:
		n.resource = EndpointSlices
	case *corev1.Node:
		n.resource = Nodes
	default:
		panic(fmt.Sprintf("apitest: no resource for a %T", o))
	}
	return n
}

// selected are the objects of a resource, sorted by name.
func (s *Server) selected(q query) []Object {
	var list []Object
	for n, o := range s.objects {
		if n.resource == q.resource && q.matches(o.GetName(), o.GetLabels()) {
			list = append(list, o)
		}
	}
	slices.SortFunc(list, func(a, b Object) int {
		return slices.Compare([]string{a.GetNamespace(), a.GetName()}, []string{b.GetNamespace(), b.GetName()})
	})
	return list
}
