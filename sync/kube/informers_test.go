package kube

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	metadatafake "k8s.io/client-go/metadata/fake"
	clienttesting "k8s.io/client-go/testing"
)

// cluster is an API server within the bubble of synctest, and the source that reads it.
type cluster struct {
	*testing.T
	client     *fake.Clientset
	nodes      *metadatafake.FakeMetadataClient
	source     *Informers
	translated *[]string
	version    int
}

// newCluster has the objects; start runs the source.
func newCluster(t *testing.T, o Options, log logr.Logger, objects ...runtime.Object) *cluster {
	c := &cluster{T: t}
	for _, o := range objects {
		c.touch(o.(metav1.Object))
	}
	c.client = fake.NewClientset(objects...)
	c.nodes = metadatafake.NewSimpleMetadataClient(metadatafake.NewTestScheme())
	c.source = NewInformers(fakeClient(c.client, c.nodes), o, log)
	counting, names := counted(c.source.options)
	counting.nodeMissing = c.source.nodeMissing
	c.source.State, c.translated = counting, names
	return c
}

func (c *cluster) start() {
	ctx, cancel := context.WithCancel(c.Context())
	done := make(chan error)
	go func() { done <- c.source.Run(ctx) }()
	c.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			c.Errorf("Run: %v", err)
		}
	})
	synctest.Wait()
}

// touch gives an object the resource version that an API server would give it.
func (c *cluster) touch(o metav1.Object) {
	c.version++
	o.SetResourceVersion(strconv.Itoa(c.version))
}

// create, update and delete return when the source has seen what they did.
func (c *cluster) create(o runtime.Object) {
	c.Helper()
	c.touch(o.(metav1.Object))
	must(c.T, c.client.Tracker().Add(o))
	synctest.Wait()
}

func (c *cluster) updateSlice(s *discoveryv1.EndpointSlice) {
	c.Helper()
	c.touch(s)
	_, err := c.client.DiscoveryV1().EndpointSlices(s.Namespace).Update(c.Context(), s, metav1.UpdateOptions{})
	must(c.T, err)
	synctest.Wait()
}

func (c *cluster) updateNode(n *corev1.Node) {
	c.Helper()
	c.touch(n)
	_, err := c.client.CoreV1().Nodes().Update(c.Context(), n, metav1.UpdateOptions{})
	must(c.T, err)
	synctest.Wait()
}

// expect says what the next Update is, and that Changed announced it if it says anything.
func (c *cluster) expect(want string) {
	c.Helper()
	if announced := changed(c.source.State); !announced && want != "" {
		c.Error("the update was not announced")
	}
	expectUpdate(c.T, c.source.State, want)
}

func TestTheAPIServerIsFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, testOptions(), logr.Discard(),
			node("node-a", "10.1.0.10"), node("node-b", "10.1.0.11"),
			ipv4Slice("web", "web-1", 8080, endpointAt("10.0.0.1")), webService("web", 30080), webService("api", 30081))
		c.start()
		c.expect("node node-a internal=[10.1.0.10] external=[]\n" +
			"service default/api\n  30081/tcp port=80 name=\"\" Cluster\n" +
			"service default/web\n  30080/tcp port=80 name=\"\" Cluster\n    10.0.0.1:8080 ready serving\n")
		expectTranslated(t, c.translated, "api", "web")

		c.create(ipv4Slice("new", "new-1", 8080, endpointAt("10.0.0.2")))
		c.expectQuiet()
		c.create(webService("new", 30082))
		c.expect("service default/new\n  30082/tcp port=80 name=\"\" Cluster\n    10.0.0.2:8080 ready serving\n")
		expectTranslated(t, c.translated, "new")

		c.updateSlice(ipv4Slice("web", "web-1", 8080, endpointAt("10.0.0.3")))
		c.expect("service default/web\n  30080/tcp port=80 name=\"\" Cluster\n    10.0.0.3:8080 ready serving\n")
		expectTranslated(t, c.translated, "web")

		c.updateNode(node("node-b", "10.1.0.99"))
		c.updateNode(node("node-a", "10.1.0.20"))
		c.expect("node node-a internal=[10.1.0.20] external=[]\n")
		expectTranslated(t, c.translated)

		must(t, c.client.DiscoveryV1().EndpointSlices("default").Delete(t.Context(), "web-1", metav1.DeleteOptions{}))
		must(t, c.client.CoreV1().Services("default").Delete(t.Context(), "api", metav1.DeleteOptions{}))
		synctest.Wait()
		c.expect("service default/api\nservice default/web\n  30080/tcp port=80 name=\"\" Cluster\n")
	})
}

// expectQuiet: a Service without objects may be looked at, but nothing comes of it.
func (c *cluster) expectQuiet() {
	c.Helper()
	changed(c.source.State)
	expectUpdate(c.T, c.source.State, "")
	*c.translated = nil
}

// A day in which nothing happens but what always does: the watches end and are begun anew, the Node reports its health.
func TestNothingNewIsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, testOptions(), logr.Discard(), node("node-a", "10.1.0.10"), webService("web", 30080))
		c.start()
		c.source.Next()
		*c.translated = nil
		changed(c.source.State)
		for range 24 {
			time.Sleep(time.Hour)
			heartbeat := node("node-a", "10.1.0.10")
			heartbeat.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady}}
			c.updateNode(heartbeat)
		}
		if changed(c.source.State) {
			t.Error("a change is announced")
		}
		expectUpdate(t, c.source.State, "")
		expectTranslated(t, c.translated)
	})
}

func TestABrokenWatchIsListedAgainWithoutTranslatingWhatIsTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		web := webService("web", 30080)
		c := newCluster(t, testOptions(), logr.Discard(), node("node-a"), web)
		watches := watchesOf(c.client)
		c.start()
		c.source.Next()
		*c.translated = nil

		lists := c.lists()
		watches.expire(t)
		c.create(webService("new", 30082))
		time.Sleep(time.Minute) // The informers wait a little before they try again.
		synctest.Wait()
		expectUpdate(t, c.source.State, "service default/new\n  30082/tcp port=80 name=\"\" Cluster\n")
		expectTranslated(t, c.translated, "new")
		if n := c.lists() - lists; n != 3 {
			t.Errorf("%d lists after the watches broke, want 3", n)
		}
	})
}

// lists is how often the source listed something.
func (c *cluster) lists() int {
	n := 0
	for _, action := range c.client.Actions() {
		if action.GetVerb() == "list" {
			n++
		}
	}
	return n
}

func TestNothingIsSaidBeforeEveryKindIsListed(t *testing.T) {
	for _, resource := range []string{"services", "endpointslices", "nodes"} {
		t.Run(resource, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				lines := make(chan string, 1000)
				log := funcr.New(func(_, args string) { lines <- args }, funcr.Options{})
				c := newCluster(t, testOptions(), log, node("node-a"), webService("web", 30080))
				var refused atomic.Bool
				refused.Store(true)
				c.client.PrependReactor("list", resource, func(clienttesting.Action) (bool, runtime.Object, error) {
					if refused.Load() {
						return true, nil, apierrors.NewForbidden(corev1.Resource(resource), "", nil)
					}
					return false, nil, nil
				})
				c.start()
				time.Sleep(time.Minute)
				if _, ok := c.source.Next(); ok || changed(c.source.State) {
					t.Error("an update although not every kind was listed")
				}
				synctest.Wait()
				text := ""
				for len(lines) > 0 {
					text += <-lines + "\n"
				}
				if !strings.Contains(text, "has listed everything once") || !strings.Contains(text, "forbidden") {
					t.Errorf("the log does not say what is waited for:\n%s", text)
				}
				refused.Store(false)
				time.Sleep(5 * time.Minute) // The informers ask ever less often, once a minute in the end.
				synctest.Wait()
				c.expect("node node-a internal=[] external=[]\nservice default/web\n  30080/tcp port=80 name=\"\" Cluster\n")
			})
		})
	}
}

func TestANodeThatDoesNotExistIsAProblemAndNotASilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, testOptions(), logr.Discard(), node("node-b", "10.1.0.11"), webService("web", 30080))
		c.start()
		c.expect("service default/web\n  30080/tcp port=80 name=\"\" Cluster\n" +
			"problem [invalid, skipped] Node node-a: it is not known to the API server; is --hostname-override right?\n")
		c.create(node("node-a", "10.1.0.10"))
		c.expect("node node-a internal=[10.1.0.10] external=[]\n")
		must(t, c.client.CoreV1().Nodes().Delete(t.Context(), "node-a", metav1.DeleteOptions{}))
		synctest.Wait()
		c.expect("problem [invalid] Node node-a: it is gone; the addresses that it had are used\n")
	})
}

func TestOnlyWhatConcernsTheNodeIsAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for proxy, want := range map[string]string{
			"":     "!service.kubernetes.io/service-proxy-name",
			"ours": "service.kubernetes.io/service-proxy-name=ours",
		} {
			o := testOptions()
			o.ServiceProxyName = proxy
			c := newCluster(t, o, logr.Discard())
			c.start()
			asked := map[string]string{}
			for _, action := range c.client.Actions() {
				switch a := action.(type) {
				case clienttesting.ListAction:
					r := a.GetListRestrictions()
					asked["list "+action.GetResource().Resource] = r.Labels.String() + " " + r.Fields.String()
				case clienttesting.WatchAction:
					r := a.GetWatchRestrictions()
					asked["watch "+action.GetResource().Resource] = r.Labels.String() + " " + r.Fields.String()
				}
			}
			wanted := map[string]string{}
			for _, verb := range []string{"list ", "watch "} {
				wanted[verb+"services"] = want + " spec.clusterIP!=None,spec.type!=ClusterIP,spec.type!=ExternalName"
				wanted[verb+"endpointslices"] = "kubernetes.io/service-name,!service.kubernetes.io/headless "
				wanted[verb+"nodes"] = " metadata.name=node-a"
			}
			if diff := cmp.Diff(wanted, asked); diff != "" {
				t.Errorf("selectors (-want +got):\n%s", diff)
			}
		}
	})
}

// Before Kubernetes 1.31 a Service could not be selected by its type.
func TestAnAPIServerThatCannotSelectIsReadWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, testOptions(), logr.Discard(), node("node-a"), webService("web", 30080))
		c.client.PrependReactor("list", "services", func(a clienttesting.Action) (bool, runtime.Object, error) {
			if a.(clienttesting.ListAction).GetListRestrictions().Fields.Empty() {
				return false, nil, nil
			}
			return true, nil, apierrors.NewBadRequest(`"spec.clusterIP" is not a known field selector`)
		})
		c.start()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		c.expect("node node-a internal=[] external=[]\nservice default/web\n  30080/tcp port=80 name=\"\" Cluster\n")
	})
}

// watches are those that the fake API server has opened.
type watches struct {
	open []*watch.RaceFreeFakeWatcher
}

func watchesOf(client *fake.Clientset) *watches {
	w := &watches{}
	client.PrependWatchReactor("*", func(action clienttesting.Action) (bool, watch.Interface, error) {
		opened, err := client.Tracker().Watch(action.GetResource(), action.GetNamespace())
		if fake, ok := opened.(*watch.RaceFreeFakeWatcher); ok {
			w.open = append(w.open, fake)
		}
		return true, opened, err
	})
	return w
}

// expire ends the watches as an API server does that has forgotten the version from which they go on.
func (w *watches) expire(t *testing.T) {
	if len(w.open) != 3 {
		t.Fatalf("%d watches, want 3", len(w.open))
	}
	for _, o := range w.open {
		o.Error(&metav1.Status{Status: metav1.StatusFailure, Code: http.StatusGone, Reason: metav1.StatusReasonExpired})
	}
}

// Whatever chooses the addresses: without the Node no endpoint is local.
func TestTheAPIServersNodeIsAlwaysNeeded(t *testing.T) {
	i := NewInformers(Client{}, Options{NodeName: "node-a"}, logr.Discard())
	i.change(i.setSynced)
	expectUpdate(t, i.State, "problem [invalid, skipped] Node node-a: it is not known to the API server; is --hostname-override right?\n")
}
