package kube

import (
	"context"
	"fmt"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/gentype"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// A node watches three kinds and writes an Event now and then: these bound a fault, not the work.
const (
	clientQPS   = 20
	clientBurst = 40
)

// Client has what the agent asks an API server for, and nothing else. client-go's own set of clients links every kind of
// Kubernetes: 7 MB more of a node's memory, of which nothing is ever used.
type Client struct {
	Services       Lister[*corev1.ServiceList]
	EndpointSlices Lister[*discoveryv1.EndpointSliceList]
	Nodes          Lister[*corev1.NodeList]
	Events         EventWriter
	// NodeLabels are Nodes without what is in them.
	NodeLabels Lister[*metav1.PartialObjectMetadataList]
}

// Lister reads the objects of one kind in all namespaces, as client-go's clients do.
type Lister[L runtime.Object] interface {
	List(ctx context.Context, o metav1.ListOptions) (L, error)
	Watch(ctx context.Context, o metav1.ListOptions) (watch.Interface, error)
}

// EventWriter writes Events into their namespace, as client-go's client for all namespaces does.
type EventWriter interface {
	CreateWithEventNamespaceWithContext(ctx context.Context, e *corev1.Event) (*corev1.Event, error)
	UpdateWithEventNamespaceWithContext(ctx context.Context, e *corev1.Event) (*corev1.Event, error)
	PatchWithEventNamespaceWithContext(ctx context.Context, e *corev1.Event, patch []byte) (*corev1.Event, error)
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
	wrapTransport(config)
	if client, err = clientFor(config); err != nil {
		return Client{}, "", fmt.Errorf("client for %s: %w", config.Host, err)
	}
	return client, config.Host, nil
}

// clientFor makes a client whose parts share their connections. Objects come as protobuf.
func clientFor(config *rest.Config) (Client, error) {
	config.ContentType = "application/vnd.kubernetes.protobuf"
	config.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	transport, err := rest.HTTPClientFor(config)
	if err != nil {
		return Client{}, err
	}
	kinds, err := newScheme()
	if err != nil {
		return Client{}, err
	}
	core, err := restClient(config, transport, kinds, "/api", corev1.SchemeGroupVersion)
	if err != nil {
		return Client{}, err
	}
	discovery, err := restClient(config, transport, kinds, "/apis", discoveryv1.SchemeGroupVersion)
	if err != nil {
		return Client{}, err
	}
	objects, err := metadata.NewForConfigAndClient(metadata.ConfigFor(config), transport)
	if err != nil {
		return Client{}, err
	}
	parameters := runtime.NewParameterCodec(kinds)
	return Client{
		Services: gentype.NewClientWithList("services", core, parameters, metav1.NamespaceAll,
			func() *corev1.Service { return &corev1.Service{} }, func() *corev1.ServiceList { return &corev1.ServiceList{} }),
		EndpointSlices: gentype.NewClientWithList("endpointslices", discovery, parameters, metav1.NamespaceAll,
			func() *discoveryv1.EndpointSlice { return &discoveryv1.EndpointSlice{} }, func() *discoveryv1.EndpointSliceList { return &discoveryv1.EndpointSliceList{} }),
		Nodes: gentype.NewClientWithList("nodes", core, parameters, "",
			func() *corev1.Node { return &corev1.Node{} }, func() *corev1.NodeList { return &corev1.NodeList{} }),
		Events:     eventClient{core, parameters},
		NodeLabels: objects.Resource(corev1.SchemeGroupVersion.WithResource("nodes")),
	}, nil
}

// newScheme knows the kinds that are read and written.
func newScheme() (*runtime.Scheme, error) {
	kinds := runtime.NewScheme()
	metav1.AddToGroupVersion(kinds, schema.GroupVersion{Version: "v1"})
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, discoveryv1.AddToScheme} {
		if err := add(kinds); err != nil {
			return nil, err
		}
	}
	return kinds, nil
}

func restClient(config *rest.Config, transport *http.Client, kinds *runtime.Scheme, path string, group schema.GroupVersion) (*rest.RESTClient, error) {
	c := rest.CopyConfig(config)
	c.APIPath, c.GroupVersion = path, &group
	c.NegotiatedSerializer = rest.CodecFactoryForGeneratedClient(kinds, serializer.NewCodecFactory(kinds)).WithoutConversion()
	return rest.RESTClientForConfigAndClient(c, transport)
}

// eventClient writes Events through the client of the core group.
type eventClient struct {
	core       rest.Interface
	parameters runtime.ParameterCodec
}

var _ EventWriter = eventClient{}

func (c eventClient) in(namespace string) *gentype.Client[*corev1.Event] {
	return gentype.NewClient("events", c.core, c.parameters, namespace, func() *corev1.Event { return &corev1.Event{} })
}

// CreateWithEventNamespaceWithContext is that of EventWriter.
func (c eventClient) CreateWithEventNamespaceWithContext(ctx context.Context, e *corev1.Event) (*corev1.Event, error) {
	return c.in(e.Namespace).Create(ctx, e, metav1.CreateOptions{})
}

// UpdateWithEventNamespaceWithContext is that of EventWriter.
func (c eventClient) UpdateWithEventNamespaceWithContext(ctx context.Context, e *corev1.Event) (*corev1.Event, error) {
	return c.in(e.Namespace).Update(ctx, e, metav1.UpdateOptions{})
}

// PatchWithEventNamespaceWithContext is that of EventWriter.
func (c eventClient) PatchWithEventNamespaceWithContext(ctx context.Context, e *corev1.Event, patch []byte) (*corev1.Event, error) {
	return c.in(e.Namespace).Patch(ctx, e.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
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
