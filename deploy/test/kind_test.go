package deploy

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
	kubeproxy "k8s.io/kube-proxy/config/v1alpha1"
	"sigs.k8s.io/kind/pkg/apis/config/v1alpha4"
	sigsyaml "sigs.k8s.io/yaml"
)

// cluster reads a configuration of kind's as kind does: an unknown field is an error.
func cluster(t *testing.T, variant string) *v1alpha4.Cluster {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "kind", variant, "cluster.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	c := &v1alpha4.Cluster{}
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(c); err != nil {
		t.Fatal(err)
	}
	if c.APIVersion != "kind.x-k8s.io/v1alpha4" || c.Kind != "Cluster" || len(c.Nodes) < 2 {
		t.Errorf("%s %s with %d nodes", c.APIVersion, c.Kind, len(c.Nodes))
	}
	return c
}

func TestKindLeavesNodePortsToTheAgent(t *testing.T) {
	c := cluster(t, "with-kube-proxy")
	if c.Networking.KubeProxyMode != v1alpha4.NFTablesProxyMode || c.Networking.IPFamily != v1alpha4.DualStackFamily {
		t.Errorf("networking %+v", c.Networking)
	}
	if len(c.KubeadmConfigPatches) != 1 {
		t.Fatalf("%d patches", len(c.KubeadmConfigPatches))
	}
	proxy := kubeproxy.KubeProxyConfiguration{}
	if err := sigsyaml.UnmarshalStrict([]byte(c.KubeadmConfigPatches[0]), &proxy); err != nil {
		t.Fatal(err)
	}
	if want := []string{"127.0.0.0/8", "::1/128"}; !slices.Equal(proxy.NodePortAddresses, want) || proxy.Kind != "KubeProxyConfiguration" {
		t.Errorf("kube-proxy serves node ports on %v, want %v", proxy.NodePortAddresses, want)
	}
}

func TestKindWithoutKubeProxyLeadsTheAgentToTheAPIServer(t *testing.T) {
	if c := cluster(t, "without-kube-proxy"); c.Networking.KubeProxyMode != "none" || c.Networking.IPFamily != v1alpha4.DualStackFamily {
		t.Errorf("networking %+v", c.Networking)
	}
	env := map[string]string{}
	for _, e := range daemonSet(t, kustomize(t, "kind/without-kube-proxy")).Spec.Template.Spec.Containers[0].Env {
		env[e.Name] = e.Value
	}
	script, err := os.ReadFile(filepath.Join("..", "kind", "run.sh"))
	if err != nil {
		t.Fatal(err)
	}
	name, found := strings.CutSuffix(env["KUBERNETES_SERVICE_HOST"], "-control-plane")
	if !found || env["KUBERNETES_SERVICE_PORT"] != "6443" || !strings.Contains(string(script), "\ncluster="+name+"\n") {
		t.Errorf("the agent asks %s, which is not the control plane of the cluster that run.sh makes", env)
	}
}

func TestKindRunsTheImageThatIsBuiltAndIsAskedAtTheNodePortOfTheSmokeTest(t *testing.T) {
	script := filepath.Join("..", "kind", "run.sh")
	if out, err := exec.CommandContext(t.Context(), "bash", "-n", script).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	text, err := os.ReadFile(script)
	if err != nil {
		t.Fatal(err)
	}
	port := find(t, plain(t), "Service").at("spec", "ports").([]any)[0].(map[string]any)["nodePort"]
	if !strings.Contains(string(text), fmt.Sprintf("\nport=%v\n", port)) {
		t.Errorf("run.sh asks another port than %v", port)
	}
	image := daemonSet(t, kustomize(t, "kind/with-kube-proxy")).Spec.Template.Spec.Containers[0].Image
	if !strings.Contains(string(text), "\nimage="+image+"\n") {
		t.Errorf("run.sh builds another image than %s", image)
	}
}
