package kube

import (
	"reflect"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kube-ipvs/kube-ipvs/sync"
)

// triggered is a slice of web that says when its endpoints changed.
func triggered(name string, at time.Time, addresses ...string) *discoveryv1.EndpointSlice {
	slice := ipv4Slice("web", name, 8080)
	for _, a := range addresses {
		slice.Endpoints = append(slice.Endpoints, endpointAt(a))
	}
	slice.Annotations = map[string]string{corev1.EndpointsLastChangeTriggerTime: at.UTC().Format(time.RFC3339Nano)}
	return slice
}

// expectTriggers compares the triggers of web in the next Update.
func expectTriggers(t *testing.T, s *State, when string, want ...time.Time) {
	t.Helper()
	update, ok := s.Next()
	if !ok {
		t.Fatal("not synced")
	}
	have := update.Triggers[sync.ServiceID{Namespace: "default", Name: "web"}]
	if !slices.EqualFunc(have, want, time.Time.Equal) || len(want) == 0 && update.Triggers != nil {
		t.Errorf("%s: triggers %v, want %v", when, have, want)
	}
}

func TestTriggersComeWithTheChangesThatTheyExplain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := counted(Options{})
		began := time.Now()
		time.Sleep(time.Hour)
		now := time.Now()
		s.setService(webService("web", 30080))
		s.setSlice(triggered("web-1", now, "10.0.0.1"))
		s.setSynced()
		expectTriggers(t, s, "of what was listed at first")

		s.setSlice(triggered("web-1", now.Add(1), "10.0.0.1", "10.0.0.2"))
		s.setSlice(triggered("web-2", now.Add(2), "10.0.0.3"))
		expectTriggers(t, s, "of two slices", now.Add(1), now.Add(2))
		expectTriggers(t, s, "when nothing came")

		s.setSlice(triggered("web-1", now.Add(3), "10.0.0.1", "10.0.0.2"))
		expectTriggers(t, s, "of the same endpoints")

		s.setSlice(triggered("web-1", began, "10.0.0.1"))
		expectTriggers(t, s, "from before the start")

		broken := triggered("web-1", now, "10.0.0.4")
		broken.Annotations[corev1.EndpointsLastChangeTriggerTime] = "yesterday"
		s.setSlice(broken)
		expectTriggers(t, s, "that nobody can read")

		s.setSlice(triggered("web-1", now.Add(4), "10.0.0.1"))
		s.deleteSlice(types.NamespacedName{Namespace: "default", Name: "web-2"})
		expectTriggers(t, s, "of a change beside a deletion, which has none", now.Add(4))

		other := triggered("other-1", now.Add(5), "10.0.0.1")
		other.Labels[discoveryv1.LabelServiceName] = "other"
		s.setSlice(other)
		expectTriggers(t, s, "of a Service that is not ours")
		if len(s.log.triggers) != 0 {
			t.Errorf("it is remembered: %v", s.log.triggers)
		}
	})
}

func TestWhatWaitsToBeHandedOverIsBounded(t *testing.T) {
	s, _ := counted(Options{})
	s.setService(webService("web", 30080))
	s.setSynced()
	for i := range 1000 {
		s.setSlice(triggered("web-1", time.Now().Add(time.Hour), []string{"10.0.0.1", "10.0.0.2"}[i%2]))
	}
	update, _ := s.Next()
	if n := len(update.Triggers[sync.ServiceID{Namespace: "default", Name: "web"}]); n == 0 || n > 100 {
		t.Errorf("%d triggers of 1000 changes", n)
	}
}

func TestChangesAreCountedIfTheyAreSome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, names := counted(testOptions())
		expect := func(when string, services, slices, pendingServices, pendingSlices uint64) {
			t.Helper()
			want := sync.Changes{
				Services:       sync.ChangeCount{Total: services, Pending: pendingServices},
				EndpointSlices: sync.ChangeCount{Total: slices, Pending: pendingSlices},
			}
			have := s.Changes()
			have.Queued = time.Time{}
			if have != want {
				t.Errorf("%s: %+v, want %+v", when, have, want)
			}
		}
		s.setService(webService("web", 30080))
		s.setSlice(triggered("web-1", time.Now(), "10.0.0.1"))
		s.setNode(node("node-a", "10.1.0.10"))
		expect("before everything was read", 1, 1, 1, 1)
		if q := s.Changes().Queued; !q.IsZero() {
			t.Errorf("queued at %s, before anything could be done", q)
		}
		s.setSynced()
		s.Next()
		expect("when it was handed over", 1, 1, 0, 0)

		begin := s.Changes().Queued
		*names = nil
		time.Sleep(time.Second)
		status := webService("web", 30080)
		status.ResourceVersion = "7"
		s.setService(status)
		again := triggered("web-1", time.Now(), "10.0.0.1")
		again.ResourceVersion = "8"
		s.setSlice(again)
		s.deleteService(types.NamespacedName{Namespace: "default", Name: "unknown"})
		s.deleteSlice(types.NamespacedName{Namespace: "default", Name: "unknown"})
		expect("of nothing that matters", 1, 1, 0, 0)
		s.Next()
		if q := s.Changes().Queued; !q.Equal(begin) || begin.IsZero() || len(*names) != 0 {
			t.Errorf("queued at %s, want %s; translated %v", q, begin, *names)
		}

		s.setService(webService("web", 30081))
		s.setSlice(triggered("web-1", time.Now(), "10.0.0.2"))
		s.setSlice(triggered("web-1", time.Now(), "10.0.0.3"))
		expect("of a port and twice of endpoints", 2, 3, 1, 2)
		if q := s.Changes().Queued; !q.Equal(time.Now()) {
			t.Errorf("queued at %s, want now", q)
		}
		s.deleteService(types.NamespacedName{Namespace: "default", Name: "web"})
		s.deleteSlice(types.NamespacedName{Namespace: "default", Name: "web-1"})
		expect("of what went", 3, 4, 2, 3)
		s.Next()
		expect("in the end", 3, 4, 0, 0)
	})
}

// The Node tells load balancers to go elsewhere; nothing else follows from it.
func TestANodeThatLeavesConcernsNoService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, testOptions(), logr.Discard(), node("node-a", "10.1.0.10"), webService("web", 30080))
		c.start()
		c.source.Next()
		*c.translated = nil
		tainted := func(keys ...string) *corev1.Node {
			n := node("node-a", "10.1.0.10")
			for _, key := range keys {
				n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: key, Value: "1", Effect: corev1.TaintEffectNoSchedule})
			}
			return n
		}
		c.updateNode(tainted("node.kubernetes.io/unschedulable"))
		c.expect("")
		c.updateNode(tainted("node.kubernetes.io/unschedulable", "ToBeDeletedByClusterAutoscaler"))
		c.expect("node node-a internal=[10.1.0.10] external=[] ineligible: the cluster autoscaler is about to remove the node " +
			"(taint ToBeDeletedByClusterAutoscaler)\n")
		c.updateNode(tainted())
		c.expect("node node-a internal=[10.1.0.10] external=[]\n")
		deleted := node("node-a", "10.1.0.10")
		now := metav1.Now()
		deleted.DeletionTimestamp, deleted.Finalizers = &now, []string{"example.com/wait"}
		c.updateNode(deleted)
		c.expect("node node-a internal=[10.1.0.10] external=[] ineligible: the Node is being deleted\n")
		must(t, c.client.Tracker().Delete(corev1.SchemeGroupVersion.WithResource("nodes"), "", "node-a"))
		synctest.Wait()
		c.expect("problem [invalid] Node node-a: it is gone; the addresses that it had are used\n") // and so is what it said last
		expectTranslated(t, c.translated)
	})
}

// What the informers strip must leave what is measured.
func TestTheAPIServersTriggersArrive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, testOptions(), logr.Discard(), node("node-a"), webService("web", 30080), triggered("web-1", time.Now(), "10.0.0.1"))
		c.start()
		expectTriggers(t, c.source.State, "at first")
		time.Sleep(time.Minute)
		at := time.Now()
		c.updateSlice(triggered("web-1", at, "10.0.0.2"))
		expectTriggers(t, c.source.State, "after a change", at)
		if n := c.source.Changes(); n.EndpointSlices.Total != 2 || n.Services.Total != 1 {
			t.Errorf("%+v", n)
		}
	})
}

// A field that Translate reads and sameSlice forgets would be a change that never arrives. So a slice with every field there is
// loses, one by one, those that strip keeps.
func TestEveryChangeOfWhatIsKeptIsOne(t *testing.T) {
	whole := &discoveryv1.EndpointSlice{}
	for _, part := range []any{&whole.AddressType, &whole.Ports, &whole.Endpoints} {
		fill(reflect.ValueOf(part).Elem())
	}
	whole.Labels = map[string]string{discoveryv1.LabelServiceName: "web"}
	kept := newStripper(time.Time{}).stripSlice(whole)
	if !sameSlice(kept, kept.DeepCopy()) {
		t.Error("a slice is not the same as its copy")
	}
	fields := 0
	for ; ; fields++ {
		after, at := kept.DeepCopy(), fields
		field := empty(reflect.ValueOf(after).Elem(), &at)
		if field == "" {
			break
		}
		if sameSlice(kept, after) || sameSlice(after, kept) {
			t.Errorf("a change of %s is none", field)
		}
	}
	if fields < 20 {
		t.Errorf("only %d fields were found", fields)
	}
}

// fill gives a value and all that is in it something to lose.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i))
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int32:
		v.SetInt(1)
	}
}

// empty makes the field number at, of those that are not empty, so and returns its name; "" if there are fewer.
func empty(v reflect.Value, at *int) string {
	if v.IsZero() {
		return ""
	}
	if v.Kind() != reflect.Struct {
		if *at == 0 {
			v.SetZero()
			return v.Type().String()
		}
		*at--
	}
	name := ""
	switch v.Kind() {
	case reflect.Pointer:
		name = empty(v.Elem(), at)
	case reflect.Slice:
		name = empty(v.Index(0), at)
	case reflect.Struct:
		for i := 0; i < v.NumField() && name == ""; i++ {
			if name = empty(v.Field(i), at); name != "" {
				name = v.Type().Field(i).Name + ": " + name
			}
		}
	}
	return name
}
