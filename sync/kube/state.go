package kube

import (
	"cmp"
	"reflect"
	"slices"
	stdsync "sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kube-ipvs/kube-ipvs/sync"
)

// State holds the objects of a source and knows which Services have to be translated again.
//
// The source sets and deletes objects within change, from any goroutine, which stores and marks and does nothing more.
// Next translates the marked Services. Objects that were handed over belong to State and do not change any more.
type State struct {
	options Options
	// nodeMissing is what to say about the Node when there is none of its name.
	nodeMissing string
	// translate is Translate, unless a test counts.
	translate func(*corev1.Service, []*discoveryv1.EndpointSlice, Options) sync.Service
	changed   chan struct{}

	mu       stdsync.Mutex
	services map[sync.ServiceID]*corev1.Service
	// slices has the slices of each Service, which need not exist, sorted by name; sliceOwner is the way back.
	slices     map[sync.ServiceID][]*discoveryv1.EndpointSlice
	sliceOwner map[types.NamespacedName]sync.ServiceID
	dirty      map[sync.ServiceID]struct{}
	// delivered is what the consumer knows of each Service that is not Empty.
	delivered map[sync.ServiceID]sync.Service

	labels nodeLabels
	log    changeLog

	node         sync.Node
	nodeProblems []sync.Problem
	// nodeKnown: node is, or was, the Node; nodePresent: it is there now; nodeDirty: the consumer does not know it.
	nodeKnown, nodePresent, nodeDirty bool

	problems           []sync.Problem
	incomplete, synced bool
}

// newState is an empty State. nodeMissing is the message of the problem that there is no Node o.NodeName.
func newState(o Options, nodeMissing string) *State {
	labels := nodeLabels{byNode: map[string]map[string]string{}, wanted: make(chan struct{})}
	o.NodeLabels = labels.byNode
	return &State{
		options:     o,
		labels:      labels,
		log:         changeLog{started: time.Now(), triggers: sync.Triggers{}},
		nodeMissing: nodeMissing,
		translate:   Translate,
		changed:     make(chan struct{}, 1),
		services:    map[sync.ServiceID]*corev1.Service{},
		slices:      map[sync.ServiceID][]*discoveryv1.EndpointSlice{},
		sliceOwner:  map[types.NamespacedName]sync.ServiceID{},
		dirty:       map[sync.ServiceID]struct{}{},
		delivered:   map[sync.ServiceID]sync.Service{},
	}
}

// Changed is that of sync.Source.
func (s *State) Changed() <-chan struct{} { return s.changed }

// Next is that of sync.Source. A Service is in the Update only if it differs from what was delivered before, and one
// that is Empty only if it was delivered otherwise before. The endpoints in the Update are shared with State: they are
// to be read, not written.
func (s *State) Next() (sync.Update, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.synced {
		return sync.Update{}, false
	}
	select {
	case <-s.changed: // What it announces is in this Update.
	default:
	}
	update := sync.Update{
		Services:   s.takeDirty(),
		Problems:   s.sourceProblems(),
		Incomplete: s.incomplete,
	}
	update.Triggers = s.log.take(update.Services)
	if s.nodeDirty {
		s.nodeDirty = false
		node := s.node
		update.Node = &node
	}
	return update, true
}

// takeDirty translates the marked Services, in the order of their names.
func (s *State) takeDirty() []sync.Service {
	if len(s.dirty) == 0 {
		return nil
	}
	ids := make([]sync.ServiceID, 0, len(s.dirty))
	for id := range s.dirty {
		ids = append(ids, id)
	}
	s.dirty = make(map[sync.ServiceID]struct{}) // the old one may have been large: walking through it would take as long for ever
	slices.SortFunc(ids, compareIDs)
	var changed []sync.Service
	for _, id := range ids {
		was, known := s.delivered[id]
		is := s.translated(id)
		empty := is.Empty()
		if empty && !known || known && equal(was, is) {
			continue
		}
		if empty {
			delete(s.delivered, id)
		} else {
			s.delivered[id] = is
		}
		changed = append(changed, is)
	}
	return changed
}

func (s *State) translated(id sync.ServiceID) sync.Service {
	svc := s.services[id]
	if svc == nil {
		return sync.Service{ID: id}
	}
	return s.translate(svc, s.slices[id], s.options)
}

func (s *State) sourceProblems() []sync.Problem {
	problems := slices.Concat(s.problems, s.nodeProblems)
	if o := s.options; o.NodeNeeded && o.NodeName != "" && !s.nodePresent {
		message := s.nodeMissing
		if s.nodeKnown {
			message = "it is gone; the addresses that it had are used"
		}
		problems = append(problems, sync.Problem{
			Object: "Node " + o.NodeName, Reason: sync.Invalid, Message: message,
			Skipped: !s.nodeKnown, // Nothing is served on addresses that nobody knows.
		})
	}
	sortProblems(problems)
	return problems
}

// change makes the changes of f one: no Update has some of them without the others. The methods below are for within f.
func (s *State) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func (s *State) setService(svc *corev1.Service) {
	id := serviceID(svc)
	before := s.services[id]
	s.services[id] = svc
	if before != nil && sameService(before, svc) {
		return
	}
	s.log.Services.Add()
	if weighsByLabels(svc) {
		s.wantLabels()
	}
	s.mark(id)
}

func (s *State) deleteService(name types.NamespacedName) {
	id := sync.ServiceID{Namespace: name.Namespace, Name: name.Name}
	if s.services[id] == nil {
		return
	}
	delete(s.services, id)
	s.log.Services.Add()
	s.mark(id)
}

// setSlice stores slice under the Service that it names. One that named another Service before leaves that one.
func (s *State) setSlice(slice *discoveryv1.EndpointSlice) {
	name := types.NamespacedName{Namespace: slice.Namespace, Name: slice.Name}
	owner := sync.ServiceID{Namespace: slice.Namespace, Name: slice.Labels[discoveryv1.LabelServiceName]}
	if before, ok := s.sliceOwner[name]; ok && before != owner {
		s.dropSlice(name, before)
	}
	if owner.Name == "" {
		return
	}
	s.sliceOwner[name] = owner
	before := s.storeSlice(owner, slice)
	if before != nil && sameSlice(before, slice) {
		return
	}
	s.log.EndpointSlices.Add()
	if s.synced {
		s.log.trigger(owner, slice)
	}
	s.mark(owner)
}

// storeSlice stores a slice under its owner and returns the one that it replaces, nil if there is none.
func (s *State) storeSlice(owner sync.ServiceID, slice *discoveryv1.EndpointSlice) (before *discoveryv1.EndpointSlice) {
	own := s.slices[owner]
	i, found := slices.BinarySearchFunc(own, slice.Name, compareSliceName)
	if found {
		before, own[i] = own[i], slice
		return before
	}
	s.slices[owner] = slices.Insert(own, i, slice)
	return nil
}

func compareSliceName(slice *discoveryv1.EndpointSlice, name string) int {
	return cmp.Compare(slice.Name, name)
}

func (s *State) deleteSlice(name types.NamespacedName) {
	if owner, ok := s.sliceOwner[name]; ok {
		s.dropSlice(name, owner)
	}
}

func (s *State) dropSlice(name types.NamespacedName, owner sync.ServiceID) {
	delete(s.sliceOwner, name)
	own := s.slices[owner]
	if i, found := slices.BinarySearchFunc(own, name.Name, compareSliceName); found {
		own = slices.Delete(own, i, i+1)
	}
	s.slices[owner] = own
	if len(own) == 0 {
		delete(s.slices, owner)
	}
	s.log.EndpointSlices.Add()
	s.mark(owner)
}

// setInput says what is wrong with the source as a whole, and whether part of it was never readable.
func (s *State) setInput(problems []sync.Problem, incomplete bool) {
	if incomplete == s.incomplete && slices.Equal(problems, s.problems) {
		return
	}
	s.problems, s.incomplete = problems, incomplete
	s.notify()
}

// setSynced says that everything was handed over once.
func (s *State) setSynced() {
	s.synced = true
	s.notify()
}

func (s *State) mark(id sync.ServiceID) {
	s.dirty[id] = struct{}{}
	s.notify()
}

// notify leaves at most one value waiting, however much has changed, and none before there is something to read.
func (s *State) notify() {
	if !s.synced {
		return
	}
	s.log.Queued = time.Now()
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// equal is reflect.DeepEqual, which alone would take as long for ten thousand endpoints as translating them.
func equal(a, b sync.Service) bool {
	samePorts := slices.EqualFunc(a.Ports, b.Ports, func(p, q sync.ServicePort) bool {
		sameEndpoints := slices.Equal(p.Endpoints, q.Endpoints)
		p.Endpoints, q.Endpoints = nil, nil
		return sameEndpoints && reflect.DeepEqual(p, q)
	})
	a.Ports, b.Ports = nil, nil
	return samePorts && reflect.DeepEqual(a, b)
}

func compareIDs(a, b sync.ServiceID) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}
