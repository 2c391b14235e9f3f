package kube

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	metadatafake "k8s.io/client-go/metadata/fake"
	clienttesting "k8s.io/client-go/testing"
)

// byRack is Service web, with its endpoints on nodes of rack r2 in maintenance.
func byRack() *corev1.Service {
	svc := webService("web", 30080)
	svc.Annotations = map[string]string{annotationWeights: "label:rack=r2=0,label:rack=3"}
	return svc
}

// weightsIn are the weights of the endpoints that the next Update has, "" if it has none.
func weightsIn(t *testing.T, s *State) string {
	t.Helper()
	update, ok := s.Next()
	if !ok {
		return "not synced"
	}
	var texts []string
	for _, svc := range update.Services {
		if len(svc.Ports) == 0 {
			continue
		}
		for _, e := range svc.Ports[0].Endpoints {
			texts = append(texts, fmt.Sprintf("%s/%s=%d", svc.ID.Name, e.Node, e.Weight))
		}
	}
	return strings.Join(texts, " ")
}

func expectWeights(t *testing.T, s *State, want string) {
	t.Helper()
	if got := weightsIn(t, s); got != want {
		t.Errorf("weights %q, want %q", got, want)
	}
}

func labels(rack string) map[string]string { return map[string]string{"rack": rack} }

func TestLabelsOfNodesConcernTheServicesThatAskForThem(t *testing.T) {
	s, names := counted(testOptions())
	s.setNode(node("node-a"))
	s.setService(byRack())
	s.setService(webService("api", 30081))
	zoned := webService("zoned", 30082)
	zoned.Annotations = map[string]string{annotationWeights: "zone:east=3"}
	s.setService(zoned)
	s.setSlice(webSlice())
	s.setSynced()
	expectWeights(t, s, "web/node-a=1 web/node-b=1")
	*names = nil
	changed(s)

	s.setNodeLabels("node-b", labels("r1"))
	if !changed(s) {
		t.Error("a label that counts is not announced")
	}
	expectWeights(t, s, "web/node-a=1 web/node-b=3")
	expectTranslated(t, names, "web")

	s.setNodeLabels("node-b", labels("r1"))
	s.setNodeLabels("node-z", nil)
	s.deleteNodeLabels("node-y")
	if changed(s) {
		t.Error("labels that are as they were count as a change")
	}
	s.setNodeLabels("node-b", labels("r2"))
	expectWeights(t, s, "web/node-a=1 web/node-b=0")
	s.deleteNodeLabels("node-b")
	expectWeights(t, s, "web/node-a=1 web/node-b=1")
}

// In manifests the Node objects of other nodes are nothing but their labels.
func TestManifestsKnowTheLabelsOfOtherNodes(t *testing.T) {
	m := Manifests{State: newState(testOptions(), "")}
	set := func(name string, value metav1.Object) {
		m.change(func() { m.set(object{key: objectKey{kind: kindNode, name: name}, value: value}) })
	}
	labelled := node("node-b")
	labelled.Labels = labels("r2")
	set("node-a", node("node-a", "10.1.0.10"))
	set("node-b", labelled)
	m.change(func() {
		m.setService(byRack())
		m.setSlice(webSlice())
		m.setSynced()
	})
	expectWeights(t, m.State, "web/node-a=1 web/node-b=0")
	labelled = node("node-b")
	labelled.Labels = labels("r1")
	set("node-b", labelled)
	expectWeights(t, m.State, "web/node-a=1 web/node-b=3")
	m.change(func() { m.remove(objectKey{kindNode, "", "node-b"}) })
	expectWeights(t, m.State, "web/node-a=1 web/node-b=1")
}

// labelled gives the fake API server nodes with racks, "NAME=RACK".
func (c *cluster) labelled(nodes ...string) {
	c.Helper()
	scheme := metadatafake.NewTestScheme()
	must(c.T, metav1.AddMetaToScheme(scheme))
	var objects []runtime.Object
	for _, text := range nodes {
		objects = append(objects, c.metadata(text))
	}
	c.nodes = metadatafake.NewSimpleMetadataClient(scheme, objects...)
	c.source.client.NodeLabels = fakeClient(c.client, c.nodes).NodeLabels
}

func (c *cluster) metadata(text string) *metav1.PartialObjectMetadata {
	name, rack, _ := strings.Cut(text, "=")
	m := &metav1.PartialObjectMetadata{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Node"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels(rack)},
	}
	c.touch(m)
	return m
}

// relabel changes the labels of a node, and returns when the source has seen it.
func (c *cluster) relabel(text string) {
	c.Helper()
	m := c.metadata(text)
	nodes := corev1.SchemeGroupVersion.WithResource("nodes")
	must(c.T, c.nodes.Tracker().Update(nodes, m, ""))
	synctest.Wait()
}

// asked is what was asked of the metadata of nodes.
func (c *cluster) asked() string {
	var verbs []string
	for _, a := range c.nodes.Actions() {
		verbs = append(verbs, a.GetVerb()+" "+a.GetResource().Resource)
	}
	return strings.Join(verbs, ", ")
}

func TestLabelsOfNodesAreAskedForOnceAServiceWantsThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, testOptions(), logr.Discard(), node("node-a"), webService("web", 30080), webSlice())
		c.labelled("node-a=r1", "node-b=r2")
		c.start()
		expectWeights(t, c.source.State, "web/node-a=0 web/node-b=0") // no weights: 0 stands for 1
		time.Sleep(time.Hour)
		if asked := c.asked(); asked != "" {
			t.Errorf("asked for labels that nobody wants: %s", asked)
		}
		svc := byRack()
		c.touch(svc)
		_, err := c.client.CoreV1().Services("default").Update(t.Context(), svc, metav1.UpdateOptions{})
		must(t, err)
		synctest.Wait()
		time.Sleep(time.Second)
		synctest.Wait()
		expectWeights(t, c.source.State, "web/node-a=3 web/node-b=0")
		if asked := c.asked(); asked != "list nodes, watch nodes" {
			t.Errorf("asked: %s", asked)
		}
		c.relabel("node-b=r1")
		expectWeights(t, c.source.State, "web/node-a=3 web/node-b=3")
		must(t, c.nodes.Tracker().Delete(schema.GroupVersionResource{Version: "v1", Resource: "nodes"}, "", "node-a"))
		synctest.Wait()
		expectWeights(t, c.source.State, "web/node-a=1 web/node-b=3")
	})
}

// The first Update has the weights right: nobody in maintenance gets a connection because of a restart.
func TestStartWaitsForTheLabelsOfNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, testOptions(), logr.Discard(), node("node-a"), byRack(), webSlice())
		c.labelled("node-b=r2")
		c.nodes.PrependReactor("list", "nodes", func(clienttesting.Action) (bool, runtime.Object, error) {
			time.Sleep(labelPatience / 2)
			return false, nil, nil
		})
		c.start()
		expectWeights(t, c.source.State, "not synced")
		time.Sleep(labelPatience/2 + time.Second)
		synctest.Wait()
		expectWeights(t, c.source.State, "web/node-a=1 web/node-b=0")
	})
}

func TestLabelsThatAreRefusedDoNotKeepTheStartForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lines := make(chan string, 1000)
		log := funcr.New(func(_, args string) { lines <- args }, funcr.Options{})
		c := newCluster(t, testOptions(), log, node("node-a"), byRack(), webSlice())
		c.labelled("node-b=r2")
		refused := make(chan struct{})
		c.nodes.PrependReactor("list", "nodes", func(clienttesting.Action) (bool, runtime.Object, error) {
			select {
			case <-refused:
				return false, nil, nil
			default:
				return true, nil, apierrors.NewForbidden(corev1.Resource("nodes"), "", nil)
			}
		})
		c.start()
		time.Sleep(labelPatience - time.Millisecond)
		synctest.Wait()
		expectWeights(t, c.source.State, "not synced")
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		expectWeights(t, c.source.State, "web/node-a=1 web/node-b=1")
		text := ""
		for len(lines) > 0 {
			text += <-lines + "\n"
		}
		if !strings.Contains(text, "labels of nodes are not known yet") || !strings.Contains(text, "forbidden") {
			t.Errorf("the log does not say what is missing:\n%s", text)
		}
		close(refused)
		time.Sleep(2 * time.Minute) // the informer asks ever less often
		synctest.Wait()
		expectWeights(t, c.source.State, "web/node-a=1 web/node-b=0")
	})
}

// An end while somebody waits for labels is an end like any other.
func TestEndDoesNotWaitForLabels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, testOptions(), logr.Discard(), node("node-a"), byRack())
		c.labelled()
		c.nodes.PrependReactor("list", "nodes", func(clienttesting.Action) (bool, runtime.Object, error) {
			return true, nil, apierrors.NewForbidden(corev1.Resource("nodes"), "", nil)
		})
		begin := time.Now()
		c.Cleanup(func() {
			if waited := time.Since(begin); waited > time.Second {
				t.Errorf("it took %s to end", waited)
			}
		})
		c.start() // what it registers ends it, and comes first
	})
}

// Every annotation that is read, and the ranges of the spec, are still there when the rest is thrown away.
func TestStripKeepsWhatAuthorsChoose(t *testing.T) {
	svc := annotated("colour=red", "kube-router.io/service.dsr=tunnel")
	for _, a := range annotations() {
		svc.Annotations[a.key] = a.example
	}
	svc.Annotations["example.com/x"] = "x"
	svc.Spec.LoadBalancerSourceRanges = []string{"10.0.0.0/8"}
	small, err := newStripper(time.Time{}).strip(svc)
	must(t, err)
	stripped := small.(*corev1.Service)
	if n := len(stripped.Annotations); n != len(svc.Annotations)-1 || stripped.Annotations["example.com/x"] != "" {
		t.Errorf("%d annotations of %d: %v", n, len(svc.Annotations), stripped.Annotations)
	}
	if len(stripped.Spec.LoadBalancerSourceRanges) != 1 {
		t.Error("the ranges of the spec are gone")
	}
	slim, err := newStripper(time.Time{}).strip(&metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
		Name: "node-b", UID: types.UID("u"), ResourceVersion: "7", Labels: labels("r1"), Annotations: map[string]string{"a": "b"},
	}})
	must(t, err)
	if m := slim.(*metav1.PartialObjectMetadata); m.Name != "node-b" || m.ResourceVersion != "7" || m.Labels["rack"] != "r1" || m.Annotations != nil || m.UID != "" {
		t.Errorf("of a node's metadata is left %+v", m)
	}
}
