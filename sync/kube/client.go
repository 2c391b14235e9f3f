package kube

import (
	"fmt"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// A node watches three kinds and writes an Event now and then: these bound a fault, not the work.
const (
	clientQPS   = 20
	clientBurst = 40
)

// Client talks to an API server.
type Client struct {
	Kubernetes kubernetes.Interface
	// Metadata reads objects without what is in them.
	Metadata metadata.Interface
}

// NewClient is a client for the API server that the kubeconfig file names, or for the one whose cluster the agent runs
// in if kubeconfig is "". It reads files and the environment and connects to nobody. host is the server's URL.
func NewClient(kubeconfig, version string) (client Client, host string, err error) {
	config, err := clientConfig(kubeconfig)
	if err != nil {
		return Client{}, "", err
	}
	config.UserAgent = "kube-ipvs/" + version
	config.QPS, config.Burst = clientQPS, clientBurst
	config.ContentType = "application/vnd.kubernetes.protobuf"
	config.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	wrapTransport(config)
	if client.Kubernetes, err = kubernetes.NewForConfig(config); err == nil {
		client.Metadata, err = metadata.NewForConfig(config)
	}
	if err != nil {
		return Client{}, "", fmt.Errorf("client for %s: %w", config.Host, err)
	}
	return client, config.Host, nil
}

func clientConfig(kubeconfig string) (*rest.Config, error) {
	if kubeconfig == "" {
		config, err := rest.InClusterConfig()
		if err != nil {
			return nil, fmt.Errorf("no --kubeconfig given, and not in a cluster: %w", err)
		}
		return config, nil
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("kubeconfig %s: %w", kubeconfig, err)
	}
	return config, nil
}
