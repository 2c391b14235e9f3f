package deploy

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMonitorAsksForAPortThatTheAgentHasAndAddsTheNode(t *testing.T) {
	all := kustomize(t, "test/testdata/monitored")
	monitor := find(t, all, "PodMonitor")
	ds := daemonSet(t, all)
	var ports []string
	for _, p := range ds.Spec.Template.Spec.Containers[0].Ports {
		ports = append(ports, p.Name)
	}
	if want := []string{"healthz", "metrics"}; !slices.Equal(ports, want) {
		t.Errorf("the agent has ports %q, want %q", ports, want)
	}
	if got := ds.Spec.Template.Labels["app.kubernetes.io/name"]; got != "kube-ipvs" {
		t.Errorf("the job would be %q", got)
	}
	delete(monitor, "metadata")
	want := object{
		"apiVersion": "monitoring.coreos.com/v1", "kind": "PodMonitor",
		"spec": map[string]any{
			"jobLabel": "app.kubernetes.io/name", // the queries ask for job="kube-ipvs"
			"selector": map[string]any{"matchLabels": map[string]any{"app.kubernetes.io/name": ds.Spec.Template.Labels["app.kubernetes.io/name"]}},
			"podMetricsEndpoints": []any{map[string]any{
				"port": "metrics", "honorLabels": true, // else namespace and endpoint would be called exported_namespace and exported_endpoint
				"relabelings": []any{map[string]any{
					"sourceLabels": []any{"__meta_kubernetes_pod_node_name"}, "targetLabel": "node",
				}},
			}},
		},
	}
	if diff := cmp.Diff(want, monitor); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
