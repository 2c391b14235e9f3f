//go:build cluster

package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab"
)

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestTheRealControllerMakesEndpointSlices(t *testing.T) {
	c := start(t, Options{NodePorts: "31000-31009"})
	k := client(t, c.Admin())
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node1", Labels: map[string]string{corev1.LabelTopologyZone: "zone1"}}}
	must[*corev1.Node](t)(k.CoreV1().Nodes().Create(t.Context(), node, metav1.CreateOptions{}))
	for n := 2; n <= 3; n++ {
		addPod(t, k, n)
	}
	began := time.Now()
	service := addService(t, k)
	for _, port := range service.Spec.Ports {
		if port.NodePort < 31000 || port.NodePort > 31009 {
			t.Errorf("node port %d", port.NodePort)
		}
	}
	awaitEndpoints(t, k, map[string]string{
		"10.244.1.2": "ready serving node1 zone1", "10.244.1.3": "ready serving node1 zone1",
		"fd44:1::2": "ready serving node1 zone1", "fd44:1::3": "ready serving node1 zone1",
	})
	t.Logf("EndpointSlices took %v", time.Since(began).Round(time.Millisecond))

	// No kubelet finishes what is deleted.
	if err := k.CoreV1().Pods("default").Delete(t.Context(), "web-2", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	awaitEndpoints(t, k, map[string]string{
		"10.244.1.2": "serving terminating node1 zone1", "10.244.1.3": "ready serving node1 zone1",
		"fd44:1::2": "serving terminating node1 zone1", "fd44:1::3": "ready serving node1 zone1",
	})
	var at int64
	if err := k.CoreV1().Pods("default").Delete(t.Context(), "web-2", metav1.DeleteOptions{GracePeriodSeconds: &at}); err != nil {
		t.Fatal(err)
	}
	awaitEndpoints(t, k, map[string]string{
		"10.244.1.3": "ready serving node1 zone1", "fd44:1::3": "ready serving node1 zone1",
	})
	t.Logf("MiB resident: etcd %d, kube-apiserver %d, kube-controller-manager %d", rss(t, c.etcd), rss(t, c.api), rss(t, c.controllers))
}

// addPod adds a pod as a kubelet would report it.
func addPod(t *testing.T, k *kubernetes.Clientset, n int) {
	t.Helper()
	pods := k.CoreV1().Pods("default")
	pod := must[*corev1.Pod](t)(pods.Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("web-%d", n), Labels: map[string]string{"app": "web"}},
		Spec:       corev1.PodSpec{NodeName: "node1", Containers: []corev1.Container{{Name: "web", Image: "none"}}},
	}, metav1.CreateOptions{}))
	v4, v6 := fmt.Sprintf("10.244.1.%d", n), fmt.Sprintf("fd44:1::%d", n)
	pod.Status = corev1.PodStatus{
		Phase: corev1.PodRunning, PodIP: v4, PodIPs: []corev1.PodIP{{IP: v4}, {IP: v6}}, HostIP: "10.1.0.10",
		Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
	}
	must[*corev1.Pod](t)(pods.UpdateStatus(t.Context(), pod, metav1.UpdateOptions{}))
}

func addService(t *testing.T, k *kubernetes.Clientset) *corev1.Service {
	t.Helper()
	both := corev1.IPFamilyPolicyRequireDualStack
	return must[*corev1.Service](t)(k.CoreV1().Services("default").Create(t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeNodePort, Selector: map[string]string{"app": "web"}, IPFamilyPolicy: &both,
			Ports: []corev1.ServicePort{
				{Name: "http", Port: 80, TargetPort: intstr.FromInt32(8080)},
				{Name: "dns", Port: 53, Protocol: corev1.ProtocolUDP},
			},
		},
	}, metav1.CreateOptions{}))
}

// awaitEndpoints waits until the slices hold these addresses in these states.
func awaitEndpoints(t *testing.T, k *kubernetes.Clientset, want map[string]string) {
	t.Helper()
	var got map[string]string
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		slices := must[*discoveryv1.EndpointSliceList](t)(k.DiscoveryV1().EndpointSlices("default").List(t.Context(),
			metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=web"}))
		got = map[string]string{}
		for _, slice := range slices.Items {
			for _, e := range slice.Endpoints {
				got[e.Addresses[0]] = describe(e)
			}
		}
		if fmt.Sprint(got) == fmt.Sprint(want) {
			return
		}
	}
	t.Fatalf("endpoints %v, want %v", got, want)
}

func describe(e discoveryv1.Endpoint) string {
	var s string
	for _, c := range []struct {
		name string
		is   *bool
	}{{"ready ", e.Conditions.Ready}, {"serving ", e.Conditions.Serving}, {"terminating ", e.Conditions.Terminating}} {
		if c.is != nil && *c.is {
			s += c.name
		}
	}
	if e.NodeName == nil || e.Zone == nil {
		return s + "nowhere"
	}
	return s + *e.NodeName + " " + *e.Zone
}

func TestAServiceAccountMayDoWhatItWasGivenAndEveryDenialIsKnown(t *testing.T) {
	c := start(t, Options{Controllers: []string{}})
	admin := client(t, c.Admin())
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "agent"}}
	must[*corev1.ServiceAccount](t)(admin.CoreV1().ServiceAccounts("default").Create(t.Context(), account, metav1.CreateOptions{}))
	config, err := c.ServiceAccount(t.Context(), "default", "agent")
	if err != nil {
		t.Fatal(err)
	}
	agent := client(t, config)
	_, err = agent.CoreV1().Services("").List(t.Context(), metav1.ListOptions{})
	if !apierrors.IsForbidden(err) {
		t.Fatalf("%v, want it forbidden", err)
	}
	want := Denial{User: "system:serviceaccount:default:agent", Verb: "list", URI: "/api/v1/services"}
	eventually(t, "the denial", func() bool {
		denials, err := c.Denials()
		return err == nil && len(denials) == 1 && denials[0] == want
	})

	role := &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: "agent"},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"services"}, Verbs: []string{"list"}}},
	}
	must[*rbacv1.ClusterRole](t)(admin.RbacV1().ClusterRoles().Create(t.Context(), role, metav1.CreateOptions{}))
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "agent"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "agent"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: "default", Name: "agent"}},
	}
	must[*rbacv1.ClusterRoleBinding](t)(admin.RbacV1().ClusterRoleBindings().Create(t.Context(), binding, metav1.CreateOptions{}))
	eventually(t, "the permission", func() bool {
		_, err := agent.CoreV1().Services("").List(t.Context(), metav1.ListOptions{})
		return err == nil
	})
}

func TestTheAPIServerComesBackWithWhatItHad(t *testing.T) {
	c := start(t, Options{Controllers: []string{}})
	k := client(t, c.Admin())
	addService(t, k)
	read := func(patience time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		_, err := k.CoreV1().Services("default").Get(ctx, "web", metav1.GetOptions{})
		return err
	}
	for name, stop := range map[string]func(){"stopped": c.StopAPIServer, "killed": c.KillAPIServer} {
		began := time.Now()
		stop()
		stopped := time.Since(began)
		if err := read(10 * time.Second); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%s: %v, want it refused", name, err)
		}
		began = time.Now()
		if err := c.StartAPIServer(t.Context()); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s in %v, back in %v", name, stopped.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
		if err := read(10 * time.Second); err != nil {
			t.Errorf("after it was %s: %v", name, err)
		}
	}
	if err := c.PauseAPIServer(); err != nil {
		t.Fatal(err)
	}
	if err := read(time.Second); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("paused: %v, want no answer", err)
	}
	if err := c.ResumeAPIServer(); err != nil {
		t.Fatal(err)
	}
	if err := read(30 * time.Second); err != nil {
		t.Errorf("resumed: %v", err)
	}
}

func TestTheCertificateIsForGuestsToo(t *testing.T) {
	c := start(t, Options{Controllers: []string{}})
	if got, want := c.ForGuest(c.Admin()).Host, fmt.Sprintf("https://%s:%d", lab.HostAddress, c.apiPort.number); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(c.Admin().CAData)
	for _, name := range []string{"127.0.0.1", lab.HostAddress, "10.96.0.1", "fd00:10:96::1", "kubernetes.default.svc"} {
		d := tls.Dialer{Config: &tls.Config{RootCAs: roots, ServerName: name, MinVersion: tls.VersionTLS13}}
		conn, err := d.DialContext(t.Context(), "tcp", c.apiPort.addr().String())
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		conn.Close()
	}
}

func TestAControlPlaneThatCannotStartSaysWhy(t *testing.T) {
	b := must[*Builder](t)(NewBuilder(t.Output()))
	programs := must[Binaries](t)(b.Build(t.Context()))
	_, err := Start(t.Context(), Options{Binaries: programs, APIServerFlags: []string{"--no-such-flag"}})
	const want = "start control plane: kube-apiserver ended: exit status 1\nlast lines of kube-apiserver.log:\n\tError: unknown flag: --no-such-flag"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
