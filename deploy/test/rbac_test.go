package deploy

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/kube-ipvs/kube-ipvs/sync"
	"github.com/kube-ipvs/kube-ipvs/sync/kube"
)

// granted is what the ClusterRole allows: "list services", with the group after a dot if it has one.
func granted(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, r := range find(t, kustomize(t, "kustomize/base"), "ClusterRole")["rules"].([]any) {
		rule := r.(map[string]any)
		for key := range rule {
			if !slices.Contains([]string{"apiGroups", "resources", "verbs"}, key) {
				t.Errorf("a rule has %s, which this test does not know", key)
			}
		}
		for _, group := range rule["apiGroups"].([]any) {
			for _, resource := range rule["resources"].([]any) {
				for _, verb := range rule["verbs"].([]any) {
					all = append(all, permission(verb.(string), group.(string), resource.(string)))
				}
			}
		}
	}
	slices.Sort(all)
	return all
}

func permission(verb, group, resource string) string {
	if group != "" {
		resource += "." + group
	}
	return verb + " " + resource
}

// clientOf asks a fake, which does not stream lists.
func clientOf(c *fake.Clientset) kube.Client {
	return kube.Client{
		Services:       unstreamed[*corev1.ServiceList]{c.CoreV1().Services("")},
		EndpointSlices: unstreamed[*discoveryv1.EndpointSliceList]{c.DiscoveryV1().EndpointSlices("")},
		Nodes:          unstreamed[*corev1.NodeList]{c.CoreV1().Nodes()},
		Events:         c.CoreV1().Events(""),
	}
}

type unstreamed[L runtime.Object] struct{ kube.Lister[L] }

// IsWatchListSemanticsUnSupported is what client-go asks for.
func (unstreamed[L]) IsWatchListSemanticsUnSupported() bool { return true }

// used is what the agent asks a cluster for: everything listed and watched, and an Event that is repeated.
func used(t *testing.T) []string {
	t.Helper()
	var all []string
	synctest.Test(t, func(t *testing.T) {
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node1"}}
		client := fake.NewClientset(node)
		source := kube.NewInformers(clientOf(client), kube.Options{NodeName: "node1"}, logr.Discard())
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- source.Run(ctx) }()
		synctest.Wait()
		for range 2 {
			source.Problem(sync.ServiceID{Namespace: "default", Name: "web"}, "u", sync.Problem{Reason: sync.Conflict, Message: "taken"})
			time.Sleep(time.Second)
			synctest.Wait()
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		for _, a := range client.Actions() {
			r := a.GetResource()
			if a.GetSubresource() != "" {
				t.Errorf("the agent asks for the subresource %s of %s", a.GetSubresource(), r.Resource)
			}
			all = append(all, permission(a.GetVerb(), r.Group, r.Resource))
		}
	})
	slices.Sort(all)
	return slices.Compact(all)
}

func TestAgentIsAllowedWhatItNeedsAndNothingElse(t *testing.T) {
	want := []string{
		"create events", "list endpointslices.discovery.k8s.io", "list nodes", "list services", "patch events",
		"watch endpointslices.discovery.k8s.io", "watch nodes", "watch services",
	}
	if diff := cmp.Diff(want, used(t)); diff != "" {
		t.Errorf("what the agent uses (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, granted(t)); diff != "" {
		t.Errorf("what the ClusterRole grants (-want +got):\n%s", diff)
	}
}

func TestRoleIsTheServiceAccountsOfTheAgent(t *testing.T) {
	all := kustomize(t, "kustomize/base")
	account, role := find(t, all, "ServiceAccount"), find(t, all, "ClusterRole")
	binding := find(t, all, "ClusterRoleBinding")
	want := fmt.Sprint([]any{map[string]any{"kind": "ServiceAccount", "name": account.at("metadata", "name"), "namespace": account.at("metadata", "namespace")}})
	if got := fmt.Sprint(binding["subjects"]); got != want || binding.at("roleRef", "name") != role.at("metadata", "name") {
		t.Errorf("bound to %s, want %s; role %v", got, want, binding["roleRef"])
	}
	if got := daemonSet(t, all).Spec.Template.Spec.ServiceAccountName; got != account.at("metadata", "name") {
		t.Errorf("the Pods run as %s", got)
	}
}
