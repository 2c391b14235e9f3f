package kube

import (
	"fmt"
	"maps"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"pgregory.net/rapid"

	"github.com/kube-ipvs/kube-ipvs/allocator"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/sync"
)

// opening are options of a node on which Services may open these ports.
func opening(t testing.TB, ports string) Options {
	t.Helper()
	o := testOptions()
	var err error
	if o.ExtraPorts, err = allocator.ParsePorts(ports); err != nil {
		t.Fatal(err)
	}
	return o
}

// asking is a Service with ports http and https, dns of two protocols, and one whose protocol nobody knows.
func asking(extra string, change ...func(*corev1.Service)) *corev1.Service {
	svc := nodePortService("web",
		corev1.ServicePort{Name: "http", Port: 80, NodePort: 30080},
		corev1.ServicePort{Name: "https", Port: 443, NodePort: 30443},
		corev1.ServicePort{Name: "dns", Port: 53, NodePort: 30053},
		corev1.ServicePort{Name: "dns-udp", Port: 53, NodePort: 30053, Protocol: corev1.ProtocolUDP},
	)
	svc.Annotations = map[string]string{annotationExtraPorts: extra}
	for _, f := range change {
		f(svc)
	}
	return svc
}

// extrasOf are the extra ports: NUMBER/PROTOCOL=NAME.
func extrasOf(s sync.Service) string {
	var texts []string
	for _, p := range s.Ports {
		if p.Extra {
			texts = append(texts, fmt.Sprintf("%d/%s=%s", p.NodePort, p.Protocol, p.Name))
		}
	}
	return strings.Join(texts, " ")
}

func TestExtraPorts(t *testing.T) {
	const note = "annotation kube-ipvs.io/extra-ports: "
	bad := func(entry string) string {
		return note + fmt.Sprintf("%q: write PORT=NAME, a port from 1 to 65535 and the name or number of a port of the Service, for example 443=https; no extra port is opened", entry)
	}
	strange := func(svc *corev1.Service) { svc.Spec.Ports[1].Protocol = "DCCP" }
	checked := func(svc *corev1.Service) {
		svc.Spec.Type, svc.Spec.ExternalTrafficPolicy, svc.Spec.HealthCheckNodePort = corev1.ServiceTypeLoadBalancer, corev1.ServiceExternalTrafficPolicyLocal, 443
	}
	for _, c := range []struct {
		name, value string
		change      func(*corev1.Service)
		opened      string
		problems    []string
	}{
		{"by name", "443=https", nil, "443/tcp=https", nil},
		{"by number", "443=443, 80=80", nil, "443/tcp=https 80/tcp=http", nil},
		{"a number that two protocols have", "53=53", nil, "53/tcp=dns 53/udp=dns-udp", nil},
		{"one protocol of them", "53=dns-udp", nil, "53/udp=dns-udp", nil},
		{"one port under two numbers", "443=https,80=https", nil, "443/tcp=https 80/tcp=https", nil},
		{"one number for two protocols", "80=http,80=dns-udp", nil, "80/tcp=http 80/udp=dns-udp", nil},
		{"zeros in front", "0443=https", nil, "443/tcp=https", nil},
		{"empty", "", nil, "", []string{bad("")}},
		{"a comma too many", "443=https,", nil, "", []string{note + "a comma too many: an entry is empty; no extra port is opened"}},
		{"no name", "443", nil, "", []string{bad("443")}},
		{"an empty name", "443=", nil, "", []string{bad("443=")}},
		{"no number", "https=443", nil, "", []string{bad("https=443")}},
		{"a blank before the name", "443= https", nil, "", []string{
			note + `443= https: the Service has no port of this name or number; it is not opened`,
		}},
		{"port 0", "0=https", nil, "", []string{bad("0=https")}},
		{"a port too high", "65536=https", nil, "", []string{bad("65536=https")}},
		{"a range", "80-81=http", nil, "", []string{bad("80-81=http")}},
		{"twice", "443=https,443=https", nil, "", []string{note + `"443=https" is there twice; no extra port is opened`}},
		{"twice under two spellings", "443=https,0443=https", nil, "", []string{note + `"0443=https" is there twice; no extra port is opened`}},
		{"outside of what the node allows", "22=http,443=https,8443=https", nil, "443/tcp=https", []string{
			note + "22, 8443 is not opened: this node's --extra-port-range is 53,80,443",
		}},
		{"a port that the Service has not", "443=htps,80=http", nil, "80/tcp=http", []string{
			note + "443=htps: the Service has no port of this name or number; it is not opened",
		}},
		{"one number for two ports of a protocol", "443=https,443=http", nil, "443/tcp=https", []string{
			note + "443=http: another port of this Service has port 443/tcp on nodes; only that one is served",
		}},
		{"one port by name and by number", "443=https,443=443", nil, "443/tcp=https", []string{
			note + "443=443: another port of this Service has port 443/tcp on nodes; only that one is served",
		}},
		{"its own node port", "80=https", func(svc *corev1.Service) { svc.Spec.Ports[0].NodePort = 80 }, "", []string{
			note + "80=https: another port of this Service has port 80/tcp on nodes; only that one is served",
		}},
		{"a protocol that nobody knows", "443=https", strange, "", []string{
			note + `443=https: port "https": unknown protocol "DCCP" (TCP, UDP and SCTP can be balanced); it is not opened`,
			`port "https": unknown protocol "DCCP" (TCP, UDP and SCTP can be balanced); node port 30443 is not served`,
		}},
		{"its own health check", "443=https,80=http", checked, "80/tcp=http", []string{
			note + "443=https: the health check of this Service has port 443; it is not opened",
		}},
		{"a port whose number is that of its health check, of another protocol", "443=dns-udp", checked, "443/udp=dns-udp", nil},
		{"no name of the Service", "443=https", func(svc *corev1.Service) { svc.Name = "" }, "", []string{
			"the Service has no name; give it one in metadata.name",
		}},
		{"a Service without node ports", "443=https", func(svc *corev1.Service) {
			svc.Spec.Type = corev1.ServiceTypeLoadBalancer
			for i := range svc.Spec.Ports {
				svc.Spec.Ports[i].NodePort = 0
			}
		}, "443/tcp=https", nil},
		{"a Service that is not open on nodes", "443=https", func(svc *corev1.Service) { svc.Spec.Type = corev1.ServiceTypeClusterIP }, "", nil},
		{"a headless one", "443=https", func(svc *corev1.Service) { svc.Spec.ClusterIP = corev1.ClusterIPNone }, "", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			change := c.change
			if change == nil {
				change = func(*corev1.Service) {}
			}
			got := Translate(asking(c.value, change), nil, opening(t, "53,80,443"))
			if diff := cmp.Diff(c.opened, extrasOf(got)); diff != "" {
				t.Errorf("opened (-want +got):\n%s", diff)
			}
			var problems []string
			for _, p := range got.Problems {
				problems = append(problems, p.Message)
			}
			if diff := cmp.Diff(c.problems, problems); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
			if c.name == "its own health check" && got.HealthCheckNodePort != 443 {
				t.Errorf("the health check is on port %d", got.HealthCheckNodePort)
			}
		})
	}
}

func TestNoExtraPortIsOpenedUnlessTheNodeAllowsIt(t *testing.T) {
	for name, o := range map[string]Options{"nil": testOptions(), "none": opening(t, "")} {
		got := Translate(asking("443=https"), nil, o)
		want := "annotation kube-ipvs.io/extra-ports: 443 is not opened: this node's --extra-port-range is empty"
		if extrasOf(got) != "" || len(got.Problems) != 1 || got.Problems[0].Message != want {
			t.Errorf("%s: opened %q, problems %v", name, extrasOf(got), got.Problems)
		}
	}
}

// The range is told as the operator wrote it; what never is an extra port is told apart.
func TestProtectedPortsAreNoExtraPorts(t *testing.T) {
	o := opening(t, "1-1023")
	o.Protected = new(allocator.Ports)
	o.Protected.Add(22, 6443)
	got := Translate(asking("22=http,443=https,6443=https"), nil, o)
	why := "6443 is not opened: this node's --extra-port-range is 1-1023; 22 is not opened: " + protectedPort
	if diff := cmp.Diff([]string{"annotation kube-ipvs.io/extra-ports: " + why}, problemTexts(got)); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"extra-ports: 443=https | " + why}, settingsText(got)); diff != "" || extrasOf(got) != "443/tcp=https" {
		t.Errorf("opened %s, settings (-want +got):\n%s", extrasOf(got), diff)
	}
}

func TestExtraPortsInForceAreThoseThatAreOpened(t *testing.T) {
	const nope = "444=nope: the Service has no port of this name or number; it is not opened"
	for value, want := range map[string]string{
		"443=https,444=nope":          "443=https | " + nope,
		"444=nope":                    " | " + nope,
		"444=nope,8443=https":         " | 8443 is not opened: this node's --extra-port-range is 80,443-444; " + nope,
		"443=https,80=http":           "443=https,80=http",
		"443=https,443=http,444=nope": "443=https | 443=http: another port of this Service has port 443/tcp on nodes; only that one is served; " + nope,
	} {
		got := Translate(asking(value), nil, opening(t, "80,443-444"))
		if diff := cmp.Diff([]string{"extra-ports: " + want}, settingsText(got)); diff != "" {
			t.Errorf("%s: settings (-want +got):\n%s", value, diff)
		}
	}
}

// An extra port has all that its Service's ports have.
func TestAnExtraPortIsServedAsItsPortIs(t *testing.T) {
	o := opening(t, "8000")
	svc := annotated("extra-ports=8000=80", "scheduler=wrr", "upper-threshold=10", "slow-start=30s", "weights=zone:east=3", "affinity-prefix=/24")
	svc.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	got := Translate(svc, nil, o)
	if len(got.Ports) != 2 {
		t.Fatalf("ports are %+v", got.Ports)
	}
	node, extra := got.Ports[0], got.Ports[1]
	node.NodePort, node.Extra = extra.NodePort, true
	if diff := cmp.Diff(node, extra, compareValues()...); diff != "" {
		t.Errorf("(-node port +extra port):\n%s", diff)
	}
}

// Whatever somebody asks for beside his node ports, nobody else's port is taken from him by it, and all ports that are
// extrasOf are among those that the node allows.
func TestExtraPortsTakeNothingFromAnotherService(t *testing.T) {
	o := opening(t, "80,443,30000-30003")
	allowed := map[uint16]bool{80: true, 443: true, 30000: true, 30001: true, 30002: true, 30003: true}
	rapid.Check(t, func(t *rapid.T) {
		others := []*corev1.Service{
			nodePortService("a", corev1.ServicePort{Name: "http", Port: 80, NodePort: 30000}),
			nodePortService("z", corev1.ServicePort{Name: "http", Port: 80, NodePort: 30001}),
			nodePortService("lb", corev1.ServicePort{Name: "http", Port: 80, NodePort: 30002}),
		}
		others[2].Spec.Type, others[2].Spec.ExternalTrafficPolicy = corev1.ServiceTypeLoadBalancer, corev1.ServiceExternalTrafficPolicyLocal
		others[2].Spec.HealthCheckNodePort = 30003
		entry := rapid.StringMatching(`(0|22|80|443|3000[0-4]|65536)=(http|80|x)?`)
		value := rapid.OneOf(rapid.Map(rapid.SliceOfN(entry, 0, 4), func(all []string) string { return strings.Join(all, ",") }), rapid.String()).Draw(t, "value")
		asks := nodePortService("m", corev1.ServicePort{Name: "http", Port: 80, NodePort: 30010})
		asks.Annotations = map[string]string{annotationExtraPorts: value}

		without, with := ownersOf(o, others...), ownersOf(o, append(others, asks)...)
		for key, owner := range with {
			if before, was := without[key]; was && before != owner {
				t.Fatalf("%s was that of %s and is that of %s", key, before, owner)
			}
			if owner == "m" && key.Port != 30010 && !allowed[key.Port] {
				t.Fatalf("%s is opened", key)
			}
		}
		maps.DeleteFunc(with, func(_ frontend.Key, owner string) bool { return owner == "m" })
		if diff := cmp.Diff(len(without), len(with)); diff != "" {
			t.Fatalf("frontends of others (-without +with):\n%s", diff)
		}
	})
}

// ownersOf says whose each frontend and health check of a node is.
func ownersOf(o Options, services ...*corev1.Service) map[frontend.Key]string {
	var update sync.Update
	for _, svc := range services {
		update.Services = append(update.Services, Translate(svc, nil, o))
	}
	s := serve([]netip.Addr{netip.MustParseAddr("10.1.0.10")}, update)
	owners := map[frontend.Key]string{}
	for _, key := range s.Keys() {
		f, _ := s.Want(key)
		owners[key] = f.Service.Name
	}
	checks, _ := s.Checks()
	for addr, check := range checks {
		owners[frontend.NewKey(addr.Addr(), frontend.TCP, addr.Port())] = check.Name
	}
	return owners
}
