package kube

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestNewClientNamesTheKubeconfigThatItCannotUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if _, _, err := NewClient(path, "test"); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("missing file: %v", err)
	}
	write(t, path, "apiVersion: v1\nkind: Config\ncurrent-context: c\n"+
		"contexts: [{name: c, context: {cluster: k, user: u}}]\nusers: [{name: u}]\n"+
		"clusters: [{name: k, cluster: {server: 'https://192.0.2.1:6443'}}]\n")
	_, host, err := NewClient(path, "test")
	if err != nil || host != "https://192.0.2.1:6443" {
		t.Errorf("host %q, error %v", host, err)
	}
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	if _, _, err := NewClient("", "test"); err == nil || !strings.Contains(err.Error(), "--kubeconfig") {
		t.Errorf("outside a cluster: %v", err)
	}
}
