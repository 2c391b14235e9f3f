package kindcluster

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/nodes"
	"github.com/kube-ipvs/kube-ipvs/e2e/suite"
)

// told is an execFunc that remembers what it was told, and says so.
type told struct {
	mu   sync.Mutex
	said []string
	fail int // so many times
}

func (o *told) exec(_ context.Context, p podName, _ io.Reader, out, _ io.Writer, args ...string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.fail > 0 {
		o.fail--
		return errors.New("no container yet")
	}
	o.said = append(o.said, p.String()+" "+strings.Join(args, " "))
	_, err := io.WriteString(out, o.said[len(o.said)-1]+"\n")
	return err
}

func (o *told) heard() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.said)
}

func testCluster(t *testing.T, objects ...runtime.Object) (*Cluster, *fake.Clientset, *told) {
	t.Helper()
	client := fake.NewClientset(objects...)
	o := &told{}
	c := newCluster(t.Context(), nil, client, o.exec, t.Output())
	t.Cleanup(c.end)
	return c, client, o
}

func pod(namespace, name, node string, labels map[string]string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID("uid-of-" + name), Labels: labels},
		Spec:       corev1.PodSpec{NodeName: node},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning},
	}
}

func agentPod(node string, restarts int32) *corev1.Pod {
	p := pod(agentNamespace, "agent-"+node, node, map[string]string{"app.kubernetes.io/name": agentName})
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: agentContainer, RestartCount: restarts}}
	return p
}

func TestAgentsAreRolledWhenEveryNodeHasANewOneThatIsAvailable(t *testing.T) {
	daemonSet := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: agentNamespace, Name: agentName, Generation: 1}}
	daemonSet.Status = appsv1.DaemonSetStatus{ObservedGeneration: 1, DesiredNumberScheduled: 3, UpdatedNumberScheduled: 3, NumberAvailable: 3}
	c, client, _ := testCluster(t, daemonSet)
	steps := []appsv1.DaemonSetStatus{ // not one of them is the end, but the last
		{ObservedGeneration: 1, DesiredNumberScheduled: 3, UpdatedNumberScheduled: 3, NumberAvailable: 3},
		{ObservedGeneration: 2, DesiredNumberScheduled: 3, UpdatedNumberScheduled: 1, NumberAvailable: 3},
		{ObservedGeneration: 2, DesiredNumberScheduled: 3, UpdatedNumberScheduled: 3, NumberAvailable: 2},
		{ObservedGeneration: 2, DesiredNumberScheduled: 3, UpdatedNumberScheduled: 3, NumberAvailable: 3},
	}
	client.PrependReactor("get", "daemonsets", func(clienttesting.Action) (bool, runtime.Object, error) {
		now := daemonSet.DeepCopy()
		now.Generation, now.Status = 2, steps[0]
		steps = steps[1:]
		return true, now, nil
	})
	if err := c.RollAgents(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(steps) != 0 {
		t.Errorf("it did not wait for %v", steps)
	}
	i := slices.IndexFunc(client.Actions(), func(a clienttesting.Action) bool { return a.GetVerb() == "patch" })
	if patch := string(client.Actions()[i].(clienttesting.PatchAction).GetPatch()); !containsAll(patch, `"template"`, "restartedAt") {
		t.Errorf("patch %s", patch)
	}
}

func TestLinesThatComplainOfAuthorizationAreFound(t *testing.T) {
	log := "starting\nE0101 services is forbidden: User \"x\" cannot list\nserving\nWARN Forbidden\n"
	want := []string{"E0101 services is forbidden: User \"x\" cannot list", "WARN Forbidden"}
	if diff := cmp.Diff(want, refusals(log)); diff != "" {
		t.Error(diff)
	}
}

func TestAnAgentThatRestartedIsPartOfTheVerdict(t *testing.T) {
	c, _, _ := testCluster(t, agentPod("worker", 0), agentPod("worker2", 0))
	if err := c.Verdict(); err != nil {
		t.Error(err)
	}
	c, _, _ = testCluster(t, agentPod("worker", 0), agentPod("worker2", 2))
	if err := c.Verdict(); err == nil || !containsAll(err.Error(), "worker2", "2 times") {
		t.Error(err)
	}
}

func TestNoAgentsAreNoGoodVerdict(t *testing.T) {
	c, _, _ := testCluster(t, pod(agentNamespace, "another", "worker", nil))
	if err := c.Verdict(); err == nil || !containsAll(err.Error(), agentLabels) {
		t.Error(err)
	}
}

func TestADiagnosisHasTheAgentsWordsAndTheKernelsTables(t *testing.T) {
	c, _, _ := testCluster(t, agentPod("worker", 0), pod(probeName, "probe", "worker", map[string]string{probeLabel: probeName}))
	c.nodes = []suite.Node{{Name: "worker"}, {Name: "worker2"}}
	said := c.Diagnosis(t.Context())
	if !containsAll(said, "fake logs", "kube-ipvs-suite/probe table", "no pod to ask from runs on worker2") {
		t.Error(said)
	}
}

func TestAServerIsToldWhatTheAnnotationOfItsPodSays(t *testing.T) {
	web := pod("case", "web", "worker", nil)
	c, client, o := testCluster(t, web, pod("case", "other", "worker", nil))
	if err := c.followReadiness(t.Context()); err != nil {
		t.Fatal(err)
	}
	annotate := func(is, note string) {
		web = web.DeepCopy()
		web.Annotations = map[string]string{nodes.ReadyAnnotation: is, "note": note}
		if _, err := client.CoreV1().Pods("case").Update(t.Context(), web, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	hears := func(want ...string) {
		t.Helper()
		for began := time.Now(); !slices.Equal(o.heard(), want); time.Sleep(time.Millisecond) {
			if time.Since(began) > 10*time.Second {
				t.Fatalf("told %q, want %q", o.heard(), want)
			}
		}
	}
	annotate("false", "")
	hears("case/web ready false")
	annotate("false", "again")
	o.mu.Lock()
	o.fail = 1
	o.mu.Unlock()
	annotate("true", "")
	annotate("true", "again") // the container's status changes until it can be told
	hears("case/web ready false", "case/web ready true")
}

func TestClosingRemovesWhatStartHasCreatedAndCountsWhatWasNotShown(t *testing.T) {
	c, client, _ := testCluster(t)
	var said strings.Builder
	c.progress = &said
	c.probing = true
	if err := createProbes(t.Context(), client); err != nil {
		t.Fatal(err)
	}
	c.NotFor("TestX", "APIServer")
	c.NotFor("TestY", "Agents")
	for range 2 {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if list, err := client.CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{}); err != nil || len(list.Items) != 0 {
		t.Errorf("%v, %v", list, err)
	}
	if !containsAll(said.String(), "TestX needs APIServer", "TestY needs Agents") || strings.Count(said.String(), "2 cases were not for") != 1 {
		t.Error(said.String())
	}
}
