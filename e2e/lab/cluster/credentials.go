package cluster

import (
	"context"
	"fmt"
	"net"
	"net/url"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab"
)

// Admin returns the administrator's credential. RBAC refuses it nothing.
func (c *ControlPlane) Admin() *rest.Config { return rest.CopyConfig(c.admin) }

// AdminKubeconfig returns the path of the administrator's kubeconfig.
func (c *ControlPlane) AdminKubeconfig() string { return c.files.kubeconfig }

// ServiceAccount returns a credential of a ServiceAccount, which must exist, by a token that the API server issues.
func (c *ControlPlane) ServiceAccount(ctx context.Context, namespace, name string) (*rest.Config, error) {
	client, err := kubernetes.NewForConfig(c.admin)
	if err != nil {
		return nil, fmt.Errorf("credential of ServiceAccount %s/%s: %w", namespace, name, err)
	}
	seconds := int64(validFor.Seconds())
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds}}
	token, err := client.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, name, request, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("credential of ServiceAccount %s/%s: %w", namespace, name, err)
	}
	config := rest.AnonymousClientConfig(c.admin)
	config.BearerToken = token.Status.Token
	return config, nil
}

// ForGuest returns a credential as it is used in a guest with a lab.Network.
func (c *ControlPlane) ForGuest(config *rest.Config) *rest.Config {
	config = rest.CopyConfig(config)
	config.Host = c.hostFor(lab.HostAddress)
	return config
}

func (c *ControlPlane) hostFor(address string) string {
	u := url.URL{Scheme: "https", Host: net.JoinHostPort(address, fmt.Sprint(c.apiPort.number))}
	return u.String()
}

// Kubeconfig encodes a credential as a kubeconfig that needs no other file.
func Kubeconfig(config *rest.Config) ([]byte, error) {
	const name = "lab"
	c := api.NewConfig()
	c.Clusters[name] = &api.Cluster{Server: config.Host, CertificateAuthorityData: config.CAData}
	c.AuthInfos[name] = &api.AuthInfo{
		Token: config.BearerToken, ClientCertificateData: config.CertData, ClientKeyData: config.KeyData,
	}
	c.Contexts[name] = &api.Context{Cluster: name, AuthInfo: name}
	c.CurrentContext = name
	b, err := clientcmd.Write(*c)
	if err != nil {
		return nil, fmt.Errorf("encode kubeconfig: %w", err)
	}
	return b, nil
}
