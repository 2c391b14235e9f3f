package deploy

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/kubernetes/scheme"
	sigsyaml "sigs.k8s.io/yaml"
)

// files of deploy/ that are applied as they are.
func plain(t *testing.T) []object {
	t.Helper()
	var all []object
	for _, name := range []string{"policy/annotations.yaml", "kind/smoke.yaml"} {
		text, err := os.ReadFile(filepath.Join("..", name))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, split(t, name, string(text))...)
	}
	return all
}

// A field that does not exist is dropped by the API server in silence.
func TestEveryFieldExists(t *testing.T) {
	all := slices.Concat(plain(t), kustomize(t, "test/testdata/monitored"), kustomize(t, "kustomize/uninstall"),
		kustomize(t, "kind/with-kube-proxy"), kustomize(t, "kind/without-kube-proxy"), helm(t, everyValue))
	strict := serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
	kinds := map[string]bool{}
	for _, o := range all {
		kind := o["kind"].(string)
		if strings.HasPrefix(o["apiVersion"].(string), "monitoring.coreos.com/") {
			continue // see monitoring_test.go
		}
		kinds[kind] = true
		text, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := strict.Decode(text, nil, nil); err != nil {
			t.Errorf("%s: %v", o.key(), err)
		}
	}
	for _, kind := range []string{"DaemonSet", "ClusterRole", "ConfigMap", "ValidatingAdmissionPolicy", "Deployment"} {
		if !kinds[kind] {
			t.Errorf("there is no %s", kind)
		}
	}
}

// everyValue gives every value of the chart, as in testdata/every-flag.yaml every flag.
const everyValue = `
image: {repository: a, tag: b, pullPolicy: Always, pullSecrets: [{name: c}]}
apiServer: {host: d, port: 1}
monitoring: {enabled: true, alerts: true, dashboard: true, labels: {release: prometheus}}
priorityClassName: ""
resources: {limits: {memory: 1Gi}}
nodeSelector: {e: f}
tolerations: []
affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: g, operator: Exists}]}]}}}
podAnnotations: {h: i}
podLabels: {j: k}
maxUnavailable: 1
`

func daemonSet(t *testing.T, all []object) *appsv1.DaemonSet {
	t.Helper()
	text, err := json.Marshal(find(t, all, "DaemonSet"))
	if err != nil {
		t.Fatal(err)
	}
	ds := &appsv1.DaemonSet{}
	if err := sigsyaml.UnmarshalStrict(text, ds); err != nil {
		t.Fatal(err)
	}
	return ds
}

func toJSON(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Helm is held to the same by TestKustomizeAndHelmRenderTheSameObjects.
func TestAgentHasNetAdminAndNothingElse(t *testing.T) {
	for _, dir := range []string{"kustomize/base", "kustomize/uninstall", "test/testdata/monitored"} {
		pod := daemonSet(t, kustomize(t, dir)).Spec.Template.Spec
		if len(pod.Containers) != 1 || len(pod.InitContainers) != 1 {
			t.Fatalf("%s: %d containers and %d init containers", dir, len(pod.Containers), len(pod.InitContainers))
		}
		want := `{"capabilities":{"add":["NET_ADMIN"],"drop":["ALL"]},"runAsUser":0,"readOnlyRootFilesystem":true,"allowPrivilegeEscalation":false}`
		if diff := cmp.Diff(want, toJSON(t, pod.Containers[0].SecurityContext)); diff != "" {
			t.Errorf("%s: the agent's security context (-want +got):\n%s", dir, diff)
		}
		if diff := cmp.Diff(`{"seccompProfile":{"type":"RuntimeDefault"}}`, toJSON(t, pod.SecurityContext)); diff != "" {
			t.Errorf("%s: the Pod's security context (-want +got):\n%s", dir, diff)
		}
		if !*pod.InitContainers[0].SecurityContext.Privileged || !*pod.InitContainers[0].SecurityContext.ReadOnlyRootFilesystem {
			t.Errorf("%s: the init container cannot write sysctls, or more than those", dir)
		}
		if !pod.HostNetwork || pod.HostPID || pod.HostIPC {
			t.Errorf("%s: host namespaces: network %t, pid %t, ipc %t", dir, pod.HostNetwork, pod.HostPID, pod.HostIPC)
		}
	}
}

// One path of the node is seen, and an agent that serves cannot write there.
func TestAgentSeesTheStateDirectoryOfTheNodeOnly(t *testing.T) {
	pod := daemonSet(t, kustomize(t, "kustomize/base")).Spec.Template.Spec
	var paths []string
	for _, v := range pod.Volumes {
		if v.HostPath != nil {
			paths = append(paths, v.HostPath.Path)
		}
	}
	if want := []string{"/run/kube-ipvs"}; !slices.Equal(paths, want) {
		t.Errorf("host paths %v, want %v", paths, want)
	}
	for _, m := range pod.Containers[0].VolumeMounts {
		if !m.ReadOnly {
			t.Errorf("%s can be written", m.MountPath)
		}
	}
}

// The second of two agents on a node ends at once (there is one writer of the IPVS table), so a surge would never get
// ready; and a DaemonSet that tolerates everything comes to nodes that others have left.
func TestAgentsAreReplacedOneAfterTheOtherOnEveryNode(t *testing.T) {
	spec := daemonSet(t, kustomize(t, "kustomize/base")).Spec
	update := spec.UpdateStrategy
	if update.Type != appsv1.RollingUpdateDaemonSetStrategyType || update.RollingUpdate.MaxSurge.IntValue() != 0 || update.RollingUpdate.MaxUnavailable.String() == "0" {
		t.Errorf("update strategy %s", toJSON(t, update))
	}
	if selector, err := metav1.LabelSelectorAsSelector(spec.Selector); err != nil || !selector.Matches(labels.Set(spec.Template.Labels)) {
		t.Errorf("selector %s, %v, of Pods with %v", selector, err, spec.Template.Labels)
	}
	pod := spec.Template.Spec
	if diff := cmp.Diff([]corev1.Toleration{{Operator: corev1.TolerationOpExists}}, pod.Tolerations); diff != "" {
		t.Errorf("tolerations (-want +got):\n%s", diff)
	}
	if pod.PriorityClassName != "system-node-critical" || pod.NodeSelector["kubernetes.io/os"] != "linux" {
		t.Errorf("priority class %q, node selector %v", pod.PriorityClassName, pod.NodeSelector)
	}
}

// /livez restarts a stuck agent; /readyz and /healthz also wait for the API server, which no restart brings back.
func TestProbesAskTheRightQuestions(t *testing.T) {
	agent := daemonSet(t, kustomize(t, "kustomize/base")).Spec.Template.Spec.Containers[0]
	if got := agent.LivenessProbe.HTTPGet; got.Path != "/livez" || got.Port.String() != "healthz" {
		t.Errorf("liveness: %s", toJSON(t, got))
	}
	if got := agent.ReadinessProbe.HTTPGet; got.Path != "/readyz" || got.Port.String() != "healthz" {
		t.Errorf("readiness: %s", toJSON(t, got))
	}
	if agent.Ports[0].Name != "healthz" || agent.Ports[0].ContainerPort != 10356 {
		t.Errorf("ports: %s", toJSON(t, agent.Ports))
	}
}

// The kubelet asks the node's address unless it is told otherwise, and restarts an agent that does not listen there.
func TestProbesAskWhereTheAgentListens(t *testing.T) {
	for address, want := range map[string]string{
		":10356": "", "0.0.0.0:10356": "", "[::]:10356": "", "127.0.0.1:10356": "127.0.0.1", "[::1]:10356": "::1", "10.1.0.10:1": "10.1.0.10",
	} {
		agent := daemonSet(t, helm(t, "config: {healthz-bind-address: '"+address+"'}")).Spec.Template.Spec.Containers[0]
		if got := []string{agent.LivenessProbe.HTTPGet.Host, agent.ReadinessProbe.HTTPGet.Host}; got[0] != want || got[1] != want {
			t.Errorf("%s: the probes ask %q, want %q", address, got, want)
		}
	}
	agent := daemonSet(t, helm(t, "config: {healthz-bind-address: ''}")).Spec.Template.Spec.Containers[0]
	if agent.LivenessProbe != nil || agent.ReadinessProbe != nil {
		t.Error("an agent that listens nowhere is asked")
	}
}
