package kube

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-ipvs/kube-ipvs/allocator"
)

func withAnnotation(key string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", Annotations: map[string]string{key: "10.0.0.0/8"}},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeNodePort, IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol},
			Ports: []corev1.ServicePort{{Port: 80, NodePort: 30080}},
		},
	}
}

// A Service that somebody wanted closed is not open because of one letter, whether it comes from an API server or not.
func TestAPrefixThatIsNearlyOursIsTakenForOurs(t *testing.T) {
	for key, want := range map[string]string{
		"kube-ipv.io/source-ranges":       "closed",
		"Kube-ipvs.io/source-ranges":      "closed",
		"KUBE-IPVS.IO/networks":           "closed",
		"kube-ipvs/source-ranges":         "closed",
		"kube-ipvs.com/deny-source-range": "closed",
		"kubeipvs.io/networks":            "closed",
		"kube-ipvs.io.source-ranges":      "closed",
		"kube-ipvs.io-networks":           "closed",
		"kube-ipv.io/scheduler":           "told: did you mean kube-ipvs.io/scheduler?",
		"kube-ipvs/drain-timeout":         "told: did you mean kube-ipvs.io/drain-timeout?",
		"source-ranges":                   "told: did you mean kube-ipvs.io/source-ranges?",
		"Scheduler":                       "told: did you mean kube-ipvs.io/scheduler?",
		"kube-ipvs.dev/colour-of-the-day": "",
		"kube-vip.io/source-ranges":       "",
		"kube-vip.io/networks":            "",
		"example.com/networks":            "",
		"k8s.io/source-ranges":            "",
		"source-range":                    "",
		"":                                "",
	} {
		for by, svc := range map[string]*corev1.Service{"manifest": withAnnotation(key), "API server": stripService(withAnnotation(key))} {
			got := Translate(svc, nil, Options{})
			state := ""
			switch texts := problemTexts(got); {
			case len(got.Ports) == 0 && len(texts) == 1:
				state = "closed"
			case len(texts) == 1:
				if i := strings.Index(texts[0], "did you mean"); i >= 0 {
					state = "told: " + texts[0][i:]
				}
			case len(texts) > 1:
				t.Errorf("%q: %q", key, texts)
			}
			if state != want || want != "" && (len(got.Settings) != 1 || got.Settings[0].Name != key || got.Settings[0].Why == "") {
				t.Errorf("%q by %s: %q, want %q; problems %q, settings %+v", key, by, state, want, problemTexts(got), got.Settings)
			}
		}
	}
}

// A port of the node's own is nobody's, also where the API server would give it away.
func TestProtectedPortsAreNoNodePorts(t *testing.T) {
	svc := withAnnotation("other")
	svc.Spec.Ports = []corev1.ServicePort{{Name: "a", Port: 80, NodePort: 22}, {Name: "b", Port: 81, NodePort: 23}, {Name: "c", Port: 82, NodePort: 10250, Protocol: corev1.ProtocolUDP}}
	o := Options{Protected: new(allocator.Ports)}
	o.Protected.Add(22, 10250)
	got := Translate(svc, nil, o)
	if len(got.Ports) != 1 || got.Ports[0].NodePort != 23 || !slices.Equal(got.Unserved, []uint16{22, 10250}) {
		t.Errorf("ports %v, unserved %v", got.Ports, got.Unserved)
	}
	for _, p := range got.Problems {
		if !p.Skipped || !strings.Contains(p.Message, "is not served: "+protectedPort) {
			t.Errorf("problem %v", p)
		}
	}
	if len(got.Problems) != 2 {
		t.Errorf("problems %v", got.Problems)
	}
	for port, answered := range map[int32]bool{22: false, 24: true} {
		svc.Spec.Type, svc.Spec.ExternalTrafficPolicy, svc.Spec.HealthCheckNodePort = corev1.ServiceTypeLoadBalancer, corev1.ServiceExternalTrafficPolicyLocal, port
		if got := Translate(svc, nil, o); (got.HealthCheckNodePort != 0) != answered {
			t.Errorf("health check of port %d: %d, problems %v", port, got.HealthCheckNodePort, got.Problems)
		}
	}
}

// A Service that cannot be read is asked about by its name.
func TestAServiceThatCannotBeReadIsAProblemOfItsOwn(t *testing.T) {
	const text = "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: prod}\nspec: {type: NodePort, ports: 7}\n---\n" + apiYAML
	m := NewManifests("-", strings.NewReader(text), Options{}, logr.Discard())
	if _, err := m.scan(time.Now()); err != nil {
		t.Fatal(err)
	}
	m.change(m.setSynced)
	update, _ := m.Next()
	if len(update.Problems) != 1 || update.Problems[0].Object != "Service prod/web" || !update.Incomplete {
		t.Errorf("update %+v", update)
	}
}
