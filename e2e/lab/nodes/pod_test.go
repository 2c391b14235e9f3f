package nodes

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
)

// container sleeps before it ends.
func container(preStop int64) corev1.Container {
	if preStop == 0 {
		return corev1.Container{}
	}
	return corev1.Container{Lifecycle: &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: preStop}}}}
}

func TestAPodSleepsAsLongAsItsLongestPreStop(t *testing.T) {
	p := pod("shop", "web", Node1)
	if got := preStop(p); got != 0 {
		t.Errorf("a pod without containers sleeps %v", got)
	}
	p.Spec.Containers = []corev1.Container{container(2), container(0), container(5)}
	if got := preStop(p); got != 5*time.Second {
		t.Errorf("sleeps %v, want 5s", got)
	}
}

func TestAPodWithHostNetworkServesTheFirstPortThatItAsksFor(t *testing.T) {
	p := pod("shop", "web", Node1)
	if got := hostPort(p); got != topo.Port {
		t.Errorf("serves %d, want %d where it asks for none", got, topo.Port)
	}
	p.Spec.Containers = []corev1.Container{{}, {Ports: []corev1.ContainerPort{{ContainerPort: 9090}, {ContainerPort: 9091}}}}
	if got := hostPort(p); got != 9090 {
		t.Errorf("serves %d, want 9090", got)
	}
}

func TestOnlyTheNewestStateOfAPodWaits(t *testing.T) {
	w := &worker{updates: make(chan *corev1.Pod, 1)}
	for _, name := range []string{"first", "second", "third"} {
		w.update(pod("shop", name, Node1))
	}
	if got := <-w.updates; got.Name != "third" || len(w.updates) > 0 {
		t.Errorf("%s waits, and %d more", got.Name, len(w.updates))
	}
}

// dying is a server that says when it was told what.
type dying struct {
	lasts time.Duration // its connections
	began time.Time
	told  []string
}

func (d *dying) say(what string) {
	d.told = append(d.told, time.Since(d.began).Round(time.Second).String()+" "+what)
}

func (d *dying) Shutdown(ctx context.Context) error {
	d.say("shut down")
	select {
	case <-time.After(d.lasts):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (d *dying) Close() error { d.say("closed"); return nil }

func TestAPodEndsAsItsKubeletEndsIt(t *testing.T) {
	for _, c := range []struct {
		name    string
		grace   int64
		preStop int64
		lasts   time.Duration
		want    []string
	}{
		{"at once without a grace", 0, 5, time.Hour, []string{"0s shut down", "0s closed"}},
		{"after its sleep and its last connection", 30, 5, 3 * time.Second, []string{"5s shut down", "8s closed"}},
		{"when its grace is over, which has begun with the sleep", 30, 5, time.Hour, []string{"5s shut down", "30s closed"}},
		{"when its grace is over in the midst of its sleep", 10, 60, 0, []string{"10s shut down", "10s closed"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := pod("shop", "web", Node1)
				p.DeletionGracePeriodSeconds = &c.grace
				p.Spec.Containers = []corev1.Container{container(c.preStop)}
				client := fake.NewClientset(p)
				s := &dying{lasts: c.lasts, began: time.Now()}
				w := &worker{kubelet: newKubelet(client, nil), key: "shop/web", uid: p.UID, server: s}
				unready := make(chan struct{})
				w.terminate(t.Context(), p, unready)
				select {
				case <-unready:
				default:
					t.Error("it was never unready")
				}
				if !slices.Equal(s.told, c.want) {
					t.Errorf("told %v, want %v", s.told, c.want)
				}
				last := client.Actions()[len(client.Actions())-1].(clienttesting.DeleteActionImpl).DeleteOptions
				if *last.GracePeriodSeconds != 0 || *last.Preconditions.UID != p.UID {
					t.Errorf("deleted with %+v: want no grace, and this pod only", last)
				}
			})
		})
	}
}

func TestAReportIsOfThisPodOnlyAndSaysWhetherItIsReady(t *testing.T) {
	client := fake.NewClientset(pod("shop", "web", Node1))
	w := &worker{kubelet: newKubelet(client, nil), key: "shop/web", uid: "shop/web", node: &topo.Host{Name: Node1}}
	w.report(t.Context(), []corev1.PodIP{{IP: "10.244.1.2"}, {IP: "fd44:1::2"}}, false)
	patch := client.Actions()[0].(clienttesting.PatchAction)
	var said struct {
		Metadata metav1.ObjectMeta
		Status   corev1.PodStatus
	}
	if err := json.Unmarshal(patch.GetPatch(), &said); err != nil {
		t.Fatal(err)
	}
	if patch.GetSubresource() != "status" || said.Metadata.UID != "shop/web" || said.Status.PodIP != "10.244.1.2" || len(said.Status.PodIPs) != 2 {
		t.Errorf("%s %+v", patch.GetSubresource(), said)
	}
	for _, c := range said.Status.Conditions {
		ready := c.Type == corev1.PodReady || c.Type == corev1.ContainersReady
		if is := c.Status == corev1.ConditionTrue; is == ready {
			t.Errorf("condition %s is %s", c.Type, c.Status)
		}
	}
}

func TestReadinessHasTheTimeOfItsChangeInEveryReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset(pod("shop", "web", Node1))
		w := &worker{kubelet: newKubelet(client, nil), key: "shop/web", uid: "shop/web", node: &topo.Host{Name: Node1}, started: metav1.Now()}
		began := time.Now()
		for i, r := range []struct {
			ready bool
			since time.Duration
		}{{false, 0}, {false, 0}, {true, 4 * time.Second}, {true, 4 * time.Second}, {false, 8 * time.Second}} {
			w.report(t.Context(), []corev1.PodIP{{IP: "10.244.1.2"}}, r.ready)
			p, err := client.CoreV1().Pods("shop").Get(t.Context(), "web", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range p.Status.Conditions {
				want := r.since
				if c.Type == corev1.PodScheduled || c.Type == corev1.PodInitialized {
					want = 0
				}
				if got := c.LastTransitionTime.Sub(began); got != want {
					t.Errorf("report %d: %s has changed after %v, want %v", i+1, c.Type, got, want)
				}
			}
			time.Sleep(2 * time.Second)
		}
	})
}

func TestARequestIsRepeatedUntilItIsDoneOrPointless(t *testing.T) {
	pods := schema.GroupResource{Resource: "pods"}
	away := errors.New("connection refused")
	for _, c := range []struct {
		name    string
		answers []error
		after   time.Duration
	}{
		{"done", []error{nil}, 0},
		{"done after an outage", []error{away, apierrors.NewTooManyRequests("later", 1), nil}, 400 * time.Millisecond},
		{"the pod is gone", []error{away, apierrors.NewNotFound(pods, "web")}, 200 * time.Millisecond},
		{"another pod has its name", []error{apierrors.NewConflict(pods, "web", errors.New("uid"))}, 0},
		{"not allowed", []error{apierrors.NewForbidden(pods, "web", nil)}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began, asked := time.Now(), 0
				persist(t.Context(), c.name, func(context.Context) error {
					asked++
					return c.answers[asked-1]
				})
				if took := time.Since(began); asked != len(c.answers) || took != c.after {
					t.Errorf("asked %d times in %v, want %d in %v", asked, took, len(c.answers), c.after)
				}
			})
		})
	}
	t.Run("an answer that never comes is not waited for, and its asker's end ends it", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 12*time.Second)
			defer cancel()
			asked := 0
			persist(ctx, "ask", func(ctx context.Context) error {
				asked++
				<-ctx.Done()
				return ctx.Err()
			})
			if asked != 3 {
				t.Errorf("asked %d times in 12 s, want 3", asked)
			}
		})
	})
}
