package deploy

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// An agent that finds no file where it looks for one does not start, or does not know how the sysctls were.
func TestContainersFindTheirConfigurationAndTheStateDirectory(t *testing.T) {
	for _, c := range []struct {
		name  string
		all   []object
		state string
		agent string // what the agent's container does there
	}{
		{"base", kustomize(t, "kustomize/base"), "/run/kube-ipvs", "reads"},
		{"uninstall", kustomize(t, "kustomize/uninstall"), "/run/kube-ipvs", "writes"},
		{"chart", helm(t, "config: {state-dir: /run/other}"), "/run/other", "reads"},
		{"chart that cleans up", helm(t, "config: {state-dir: /run/other}\ncleanup: true"), "/run/other", "writes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			pod := daemonSet(t, c.all).Spec.Template.Spec
			finds(t, pod.InitContainers[0], "writes", c.state)
			finds(t, pod.Containers[0], c.agent, c.state)
			config := find(t, c.all, "ConfigMap")
			if config.at("data", "config.yaml") == nil {
				t.Errorf("%s has no config.yaml", config.key())
			}
			want := []corev1.Volume{
				{Name: "config", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
					LocalObjectReference: corev1.LocalObjectReference{Name: config.at("metadata", "name").(string)},
				}}},
				{Name: "state", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{
					Path: c.state, Type: new(corev1.HostPathDirectoryOrCreate),
				}}},
			}
			if diff := cmp.Diff(want, pod.Volumes); diff != "" {
				t.Errorf("volumes (-want +got):\n%s", diff)
			}
		})
	}
}

// finds requires that a container reads its configuration, and reads or writes the state directory.
func finds(t *testing.T, c corev1.Container, does, state string) {
	t.Helper()
	if !slices.Contains(c.Args, "--config=/etc/kube-ipvs/config.yaml") {
		t.Errorf("%s is started with %q", c.Name, c.Args)
	}
	var mounts []string
	for _, m := range c.VolumeMounts {
		access := "writes "
		if m.ReadOnly {
			access = "reads "
		}
		mounts = append(mounts, access+m.Name+" at "+m.MountPath)
	}
	if diff := cmp.Diff([]string{"reads config at /etc/kube-ipvs", does + " state at " + state}, mounts); diff != "" {
		t.Errorf("%s (-want +got):\n%s", c.Name, diff)
	}
}

// The host's name may not be the node's, and cluster DNS may need the Services that the agent is to serve.
func TestAgentIsToldItsNodeAndNeedsNoClusterDNS(t *testing.T) {
	for _, dir := range []string{"kustomize/base", "test/testdata/monitored", "kind/without-kube-proxy"} {
		pod := daemonSet(t, kustomize(t, dir)).Spec.Template.Spec
		agent := pod.Containers[0]
		want := `{"name":"NODE_NAME","valueFrom":{"fieldRef":{"fieldPath":"spec.nodeName"}}}`
		if diff := cmp.Diff(want, toJSON(t, agent.Env[0])); diff != "" {
			t.Errorf("%s: environment (-want +got):\n%s", dir, diff)
		}
		if !slices.Contains(agent.Args, "--hostname-override=$(NODE_NAME)") || pod.DNSPolicy != corev1.DNSDefault {
			t.Errorf("%s: arguments %q, DNS policy %s", dir, agent.Args, pod.DNSPolicy)
		}
	}
}

// Nobody answers probes there, and no node has to wait for another.
func TestCleanupIsNotProbedAndComesToAllNodesAtOnce(t *testing.T) {
	spec := daemonSet(t, kustomize(t, "kustomize/uninstall")).Spec
	agent := spec.Template.Spec.Containers[0]
	if agent.LivenessProbe != nil || agent.ReadinessProbe != nil {
		t.Errorf("probes %s, %s", toJSON(t, agent.LivenessProbe), toJSON(t, agent.ReadinessProbe))
	}
	if got := spec.UpdateStrategy.RollingUpdate.MaxUnavailable.String(); got != "100%" {
		t.Errorf("%s of the nodes at a time", got)
	}
}

// The DaemonSet says again what the configuration says: kustomize cannot look it up there.
func TestProbesAndMountsAreWhereTheConfigurationHasThem(t *testing.T) {
	for _, dir := range []string{
		"kustomize/base", "kustomize/uninstall", "kind/with-kube-proxy", "kind/without-kube-proxy",
		"test/testdata/own-config", "test/testdata/elsewhere", "test/testdata/cleanup",
	} {
		all := kustomize(t, dir)
		pod := daemonSet(t, all).Spec.Template.Spec
		var config map[string]any
		for _, o := range all {
			if text, is := o.at("data", "config.yaml").(string); is {
				if err := yaml.UnmarshalStrict([]byte(text), &config); err != nil {
					t.Fatal(err)
				}
			}
		}
		port := pod.Containers[0].Ports[0]
		if want := fmt.Sprintf(":%d", port.ContainerPort); port.Name != "healthz" || config["healthz-bind-address"] != want {
			t.Errorf("%s: the agent listens at %v, and is asked at %s", dir, config["healthz-bind-address"], want)
		}
		if state, set := config["state-dir"]; set && state != pod.Volumes[1].HostPath.Path {
			t.Errorf("%s: the agent writes to %v, and has %s", dir, state, pod.Volumes[1].HostPath.Path)
		}
	}
}
