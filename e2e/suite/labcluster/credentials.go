package labcluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/cluster"
)

const (
	system       = metav1.NamespaceSystem
	agentAccount = "kube-ipvs"
	proxyAccount = "kube-proxy"
)

// credentials creates the accounts and returns the kubeconfigs for the guest. The agent's account may do exactly what
// deploy/ gives it; kube-proxy has the role that every cluster has for it.
func (c *Cluster) credentials(ctx context.Context, root string) ([]lab.File, error) {
	client, err := kubernetes.NewForConfig(c.plane.Admin())
	if err != nil {
		return nil, err
	}
	if err := deployAccount(ctx, client, filepath.Join(root, "deploy", "kustomize", "base")); err != nil {
		return nil, err
	}
	if err := createProxyAccount(ctx, client); err != nil {
		return nil, err
	}
	agent, err := c.plane.ServiceAccount(ctx, system, agentAccount)
	if err != nil {
		return nil, err
	}
	proxy, err := c.plane.ServiceAccount(ctx, system, proxyAccount)
	if err != nil {
		return nil, err
	}
	var files []lab.File
	for _, k := range []struct {
		config *rest.Config
		dest   string
	}{{c.plane.Admin(), adminFile}, {agent, agentFile}, {proxy, proxyFile}} {
		content, err := cluster.Kubeconfig(c.plane.ForGuest(k.config))
		if err != nil {
			return nil, err
		}
		source := filepath.Join(c.dir.Path, filepath.Base(k.dest))
		if err := os.WriteFile(source, content, 0o600); err != nil {
			return nil, fmt.Errorf("write kubeconfig: %w", err)
		}
		files = append(files, lab.File{Source: source, Dest: k.dest})
	}
	return files, nil
}

// deployAccount creates the agent's ServiceAccount with its role as deploy/ has them.
func deployAccount(ctx context.Context, client kubernetes.Interface, dir string) error {
	account, err := read[*corev1.ServiceAccount](dir, "serviceaccount.yaml")
	if err != nil {
		return err
	}
	role, err := read[*rbacv1.ClusterRole](dir, "clusterrole.yaml")
	if err != nil {
		return err
	}
	binding, err := read[*rbacv1.ClusterRoleBinding](dir, "clusterrolebinding.yaml")
	if err != nil {
		return err
	}
	for i := range binding.Subjects {
		binding.Subjects[i].Namespace = system // as the kustomization of the base does
	}
	if _, err := client.CoreV1().ServiceAccounts(system).Create(ctx, account, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create the agent's ServiceAccount: %w", err)
	}
	if _, err := client.RbacV1().ClusterRoles().Create(ctx, role, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create the agent's ClusterRole: %w", err)
	}
	if _, err := client.RbacV1().ClusterRoleBindings().Create(ctx, binding, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create the agent's ClusterRoleBinding: %w", err)
	}
	return nil
}

// read decodes an object of deploy/. A field that the API does not know is an error.
func read[T runtime.Object](dir, file string) (object T, err error) {
	content, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return object, fmt.Errorf("read deployment: %w", err)
	}
	decoded, _, err := scheme.Codecs.UniversalDeserializer().Decode(content, nil, nil)
	if err != nil {
		return object, fmt.Errorf("read deployment: %s: %w", file, err)
	}
	object, ok := decoded.(T)
	if !ok {
		return object, fmt.Errorf("read deployment: %s has a %T, not a %T", file, decoded, object)
	}
	return object, nil
}

func createProxyAccount(ctx context.Context, client kubernetes.Interface) error {
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: proxyAccount}}
	if _, err := client.CoreV1().ServiceAccounts(system).Create(ctx, account, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create kube-proxy's ServiceAccount: %w", err)
	}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: proxyAccount},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "system:node-proxier"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: system, Name: proxyAccount}},
	}
	if _, err := client.RbacV1().ClusterRoleBindings().Create(ctx, binding, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create kube-proxy's ClusterRoleBinding: %w", err)
	}
	return nil
}
