package suite

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/e2e-framework/klient/k8s"
	"sigs.k8s.io/e2e-framework/klient/k8s/resources"
	"sigs.k8s.io/e2e-framework/pkg/env"
	"sigs.k8s.io/e2e-framework/pkg/envconf"
	"sigs.k8s.io/e2e-framework/pkg/envfuncs"
	"sigs.k8s.io/e2e-framework/pkg/features"
)

// Patience is how long a promise may take to come true: nodes are slow and share two processors with a control plane.
const Patience = 45 * time.Second

// Case is a test with a namespace of its own.
type Case struct {
	*testing.T
	Provider
	Namespace string

	ctx     context.Context
	objects *resources.Resources
	lacks   *string // what the provider is not and the case needs
}

// Promise runs a case.
func (s *Suite) Promise(t *testing.T, f func(c *Case)) {
	t.Helper()
	namespace := envconf.RandomName("case", 12)
	var lacks string
	feature := features.New("promise").
		Setup(func(ctx context.Context, _ *testing.T, config *envconf.Config) context.Context {
			return apply(ctx, t, config, envfuncs.CreateNamespace(namespace))
		}).
		Assess("holds", func(ctx context.Context, t *testing.T, config *envconf.Config) context.Context {
			c := &Case{
				T: t, Provider: s.provider, Namespace: namespace,
				ctx: ctx, objects: config.Client().Resources(namespace), lacks: &lacks,
			}
			defer func() { // before anything is given back
				if c.Failed() {
					c.Log(c.Diagnosis(ctx))
				}
			}()
			f(c)
			return ctx
		}).
		Teardown(func(ctx context.Context, _ *testing.T, config *envconf.Config) context.Context {
			if err := empty(ctx, config, namespace); err != nil {
				t.Error(err)
			}
			return apply(ctx, t, config, envfuncs.DeleteNamespace(namespace))
		})
	s.Test(t, feature.Feature())
	notFor(t, s.provider, lacks)
}

func apply(ctx context.Context, t *testing.T, config *envconf.Config, f env.Func) context.Context {
	t.Helper()
	after, err := f(ctx, config)
	if err != nil {
		t.Error(err)
		return ctx
	}
	return after
}

// empty deletes the Services of a namespace, so that no node port is served with what is left of its Pods, and then the
// Pods, with no grace: the namespace would wait for it.
func empty(ctx context.Context, config *envconf.Config, namespace string) error {
	r := config.Client().Resources(namespace)
	var services corev1.ServiceList
	var pods corev1.PodList
	if err := errors.Join(r.List(ctx, &services), r.List(ctx, &pods)); err != nil {
		return fmt.Errorf("empty namespace: %w", err)
	}
	for i := range services.Items {
		if err := r.Delete(ctx, &services.Items[i]); err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("empty namespace: %w", err)
		}
	}
	for i := range pods.Items {
		if err := r.Delete(ctx, &pods.Items[i], resources.WithGracePeriod(0)); err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("empty namespace: %w", err)
		}
	}
	return nil
}

// Need returns what a provider can do beyond every provider's duty. On a [Partial] provider that cannot, the case is not
// run, and counted as such; on any other it fails.
func Need[T any](c *Case) T {
	c.Helper()
	t, ok := c.Provider.(T)
	if !ok {
		c.lack(reflect.TypeFor[T]().Name())
	}
	return t
}

// Must ends the case at an error.
func (c *Case) Must(err error) {
	c.Helper()
	if err != nil {
		c.Fatal(err)
	}
}

// Context is that of the case.
func (c *Case) Context() context.Context { return c.ctx }

// Create creates an object in the case's namespace.
func (c *Case) Create(o k8s.Object) {
	c.Helper()
	o.SetNamespace(c.Namespace)
	c.Must(c.objects.Create(c.ctx, o))
}

// Read brings an object up to date.
func (c *Case) Read(o k8s.Object) {
	c.Helper()
	c.Must(c.objects.Get(c.ctx, o.GetName(), c.Namespace, o))
}

// Change reads an object, changes it and writes it back, once more where somebody else was faster.
func (c *Case) Change(o k8s.Object, change func()) {
	c.Helper()
	c.Eventually("change of "+o.GetName(), func() error {
		if err := c.objects.Get(c.ctx, o.GetName(), c.Namespace, o); err != nil {
			return err
		}
		change()
		err := c.objects.Update(c.ctx, o)
		if err != nil && !apierrors.IsConflict(err) {
			c.Fatal(err)
		}
		return err
	})
}

// Delete deletes an object, with the grace that it asks for, and does not wait for its end.
func (c *Case) Delete(o k8s.Object) {
	c.Helper()
	c.Must(c.objects.Delete(c.ctx, o))
}

// Afterwards is how the case gives back what it takes from the cluster: it calls what is returned, and where it ends before
// that, undo is called then. The next case finds the cluster whole.
func (c *Case) Afterwards(undo func() error) (now func()) {
	c.Helper()
	once := sync.OnceValue(undo)
	c.Cleanup(func() {
		if err := once(); err != nil {
			c.Error(err)
		}
	})
	return func() {
		c.Helper()
		c.Must(once())
	}
}

// Eventually ends the case unless f returns nil within a while.
func (c *Case) Eventually(what string, f func() error) {
	c.Helper()
	c.Within(Patience, what, f)
}

// Within ends the case unless f returns nil in time.
func (c *Case) Within(patience time.Duration, what string, f func() error) {
	c.Helper()
	began := time.Now()
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Since(began) > patience {
			c.Fatalf("%s: not within %v: %v", what, patience, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// Event waits for an Event about an object.
func (c *Case) Event(about k8s.Object, reason string) *corev1.Event {
	c.Helper()
	var found *corev1.Event
	c.Eventually("event "+reason+" of "+about.GetName(), func() error {
		var events corev1.EventList
		if err := c.objects.List(c.ctx, &events); err != nil {
			return err
		}
		var said []string
		for i, e := range events.Items {
			if e.InvolvedObject.Name == about.GetName() && e.Reason == reason {
				found = &events.Items[i]
				return nil
			}
			said = append(said, e.InvolvedObject.Name+" "+e.Reason)
		}
		return fmt.Errorf("events so far: %s", strings.Join(said, ", "))
	})
	return found
}

func meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Labels: map[string]string{label: name}}
}
