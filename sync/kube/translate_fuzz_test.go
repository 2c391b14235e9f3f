package kube

import (
	"net/netip"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/nodeaddr"
	"github.com/kube-ipvs/kube-ipvs/sync"
)

// hostileTexts are what no API server lets through as a name, and what it lets through as a value.
func hostileTexts() []string {
	return []string{
		"", "web", "http", "node-a", "east", "default", "10.244.1.1", "fd01::1", "::ffff:10.0.0.1", "fe80::1%eth0", "0.0.0.0", "TCP", "udp", "SCTP",
		"IPv4", "IPv6", "FQDN", "NodePort", "LoadBalancer", "ClientIP", "Local", "Pod", "\x1b[2J", "\u202e", "\u009b31m", "a\nb", "a\rb", "\x00", "\xff\xfe",
		`"; add rule inet x y drop; #`, "<script>alert(1)</script>", "../../etc/passwd", "%s%n", strings.Repeat("x", 300),
	}
}

// dice makes choices out of what a fuzzer wrote. At its end every choice is the first one.
type dice struct{ left []byte }

func (d *dice) of(n int) int {
	if len(d.left) == 0 {
		return 0
	}
	v := int(d.left[0]) % n
	d.left = d.left[1:]
	return v
}

func (d *dice) flag() bool { return d.of(2) == 1 }

// text is a hostile one, or as it stands there.
func (d *dice) text() string {
	all := hostileTexts()
	i := d.of(len(all) + 1)
	if i < len(all) {
		return all[i]
	}
	n := min(d.of(32), len(d.left))
	text := string(d.left[:n])
	d.left = d.left[n:]
	return text
}

func (d *dice) number() int32 {
	fixed := []int32{0, 80, 30080, 65535, 65536, -1, 1<<31 - 1, -1 << 31, 443, 1}
	if i := d.of(len(fixed) + 1); i < len(fixed) {
		return fixed[i]
	}
	return int32(d.of(256))<<24 | int32(d.of(256))<<16 | int32(d.of(256))<<8 | int32(d.of(256))
}

// maybe is nil or a pointer.
func maybe[T any](d *dice, draw func() T) *T {
	if d.flag() {
		return ptr(draw())
	}
	return nil
}

// some are up to most of what draw makes.
func some[T any](d *dice, most int, draw func() T) []T {
	var all []T
	for range d.of(most + 1) {
		all = append(all, draw())
	}
	return all
}

func (d *dice) service() *corev1.Service {
	svc := nodePortService("web")
	if d.flag() {
		svc.Namespace, svc.Name = d.text(), d.text()
	}
	if d.flag() {
		svc.Spec.Type = corev1.ServiceType(d.text())
	}
	if d.flag() {
		svc.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicy(d.text())
		svc.Spec.HealthCheckNodePort = d.number()
		svc.Spec.SessionAffinity = corev1.ServiceAffinity(d.text())
		svc.Spec.SessionAffinityConfig = maybe(d, func() corev1.SessionAffinityConfig {
			return corev1.SessionAffinityConfig{ClientIP: maybe(d, func() corev1.ClientIPConfig {
				return corev1.ClientIPConfig{TimeoutSeconds: maybe(d, d.number)}
			})}
		})
	}
	svc.Spec.Ports = some(d, 4, func() corev1.ServicePort {
		return corev1.ServicePort{Name: d.text(), Protocol: corev1.Protocol(d.text()), Port: d.number(), NodePort: d.number(), AppProtocol: maybe(d, d.text)}
	})
	if d.flag() {
		svc.Spec.IPFamilies = some(d, 3, func() corev1.IPFamily { return corev1.IPFamily(d.text()) })
		svc.Spec.ClusterIP, svc.Spec.ClusterIPs = d.text(), some(d, 2, d.text)
		svc.Spec.LoadBalancerSourceRanges = some(d, 3, d.text)
	}
	keys := annotationKeys()
	for range d.of(4) {
		if svc.Annotations == nil {
			svc.Annotations = map[string]string{}
		}
		svc.Annotations[keys[d.of(len(keys))]] = d.text()
	}
	return svc
}

func (d *dice) slice() *discoveryv1.EndpointSlice {
	s := ipv4Slice("web", "s"+strconv.Itoa(d.of(4)), 8080)
	if d.flag() {
		s.AddressType = discoveryv1.AddressType(d.text())
		s.Namespace, s.Name = d.text(), d.text()
	}
	s.Ports = some(d, 3, func() discoveryv1.EndpointPort {
		return discoveryv1.EndpointPort{
			Name: maybe(d, d.text), Port: maybe(d, d.number),
			Protocol: maybe(d, func() corev1.Protocol { return corev1.Protocol(d.text()) }),
		}
	})
	s.Endpoints = some(d, 5, func() discoveryv1.Endpoint {
		return discoveryv1.Endpoint{
			Addresses:  some(d, 2, d.text),
			Conditions: discoveryv1.EndpointConditions{Ready: maybe(d, d.flag), Serving: maybe(d, d.flag), Terminating: maybe(d, d.flag)},
			NodeName:   maybe(d, d.text), Zone: maybe(d, d.text), Hostname: maybe(d, d.text),
			TargetRef: maybe(d, func() corev1.ObjectReference {
				return corev1.ObjectReference{Kind: d.text(), Namespace: d.text(), Name: d.text()}
			}),
			Hints: maybe(d, func() discoveryv1.EndpointHints {
				return discoveryv1.EndpointHints{
					ForNodes: some(d, 2, func() discoveryv1.ForNode { return discoveryv1.ForNode{Name: d.text()} }),
					ForZones: some(d, 2, func() discoveryv1.ForZone { return discoveryv1.ForZone{Name: d.text()} }),
				}
			}),
		}
	})
	return s
}

// FuzzTranslate takes objects of any content, of which pointers may be nil.
func FuzzTranslate(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("\x00\x00\x00\x01\x02\x0c\x01\x02\x00\x00\x01\x00\x02\x01\x00\x00\x01\x01\x01\x01\x02\x01\x06\x01\x01"))
	f.Add([]byte(strings.Repeat("\x01", 200)))
	o := choosingAndOpening(f)
	o.SpecSourceRanges, o.Zone = true, "east"
	o.NodeLabels = map[string]map[string]string{"node-a": {"disk": "ssd"}}
	f.Fuzz(func(t *testing.T, choices []byte) {
		if len(choices) > 4096 {
			return
		}
		d := &dice{choices}
		svc, endpointSlices := d.service(), some(d, 3, d.slice)
		before := svc.DeepCopy()
		got := Translate(svc, endpointSlices, o)
		if !reflect.DeepEqual(svc, before) {
			t.Error("the Service was changed")
		}
		if again := Translate(svc, endpointSlices, o); !sameMeaning(got, again) {
			t.Errorf("the same objects mean another thing the second time:\n%+v\n%+v", got, again)
		}
		checkTranslated(t, got, svc, endpointSlices, o)
		checkServed(t, got)
	})
}

// sameMeaning compares all but the order of problems of one object, which come out of a map.
func sameMeaning(a, b sync.Service) bool {
	return len(a.Problems) == len(b.Problems) && reflect.DeepEqual(a.Ports, b.Ports) && reflect.DeepEqual(a.Settings, b.Settings) && reflect.DeepEqual(a.Unserved, b.Unserved)
}

// checkTranslated: what comes of objects is in the ranges of the kernel, and not larger than they are.
func checkTranslated(t *testing.T, got sync.Service, svc *corev1.Service, endpointSlices []*discoveryv1.EndpointSlice, o Options) {
	t.Helper()
	type opened struct {
		port     uint16
		protocol frontend.Protocol
	}
	open, written, most := map[opened]bool{}, len(svc.Spec.Ports), 0
	for _, s := range endpointSlices {
		written += len(s.Ports)
		most += len(s.Ports) * len(s.Endpoints)
	}
	for _, p := range got.Ports {
		checkPort(t, p, o)
		at := opened{p.NodePort, p.Protocol}
		if p.NodePort == 0 || open[at] || p.Protocol != frontend.TCP && p.Protocol != frontend.UDP && p.Protocol != frontend.SCTP {
			t.Errorf("port %+v", p)
		}
		open[at] = true
		if a := p.Affinity.Timeout; a < 0 || a > maxAffinity || a%1e9 != 0 {
			t.Errorf("affinity of %s", a)
		}
		if len(p.Endpoints) > most {
			t.Errorf("%d endpoints out of %d", len(p.Endpoints), most)
		}
		for i, e := range p.Endpoints {
			a := e.Addr.Addr()
			if e.Addr.Port() == 0 || !a.IsValid() || a.Is4In6() || a.Zone() != "" || a.IsUnspecified() || a.IsLoopback() || a.IsMulticast() || a.IsLinkLocalUnicast() ||
				i > 0 && p.Endpoints[i-1].Addr.Compare(e.Addr) >= 0 {
				t.Errorf("endpoint %+v", e)
			}
		}
	}
	if len(got.Problems) > 64+8*written {
		t.Errorf("%d problems of %d ports", len(got.Problems), written)
	}
	for _, p := range got.Problems {
		if sync.Printable(p.Message) != p.Message || !utf8.ValidString(p.Message) {
			t.Errorf("a message for terminals and Events: %q", p.Message)
		}
	}
	for _, s := range got.Settings {
		if sync.Printable(s.Why) != s.Why || sync.Printable(s.InForce) != s.InForce || len(s.Why) > 4*maxWhy {
			t.Errorf("setting %+v", s)
		}
	}
}

// checkServed: the kernel takes the table of a node that has nothing but this Service.
func checkServed(t *testing.T, svc sync.Service) {
	t.Helper()
	s := sync.NewState(sync.Defaults{Scheduler: "rr"})
	s.SetPlaces(nodeaddr.Places([]netip.Addr{netip.MustParseAddr("10.1.0.10"), netip.MustParseAddr("fd01::10")}, nil, nil, nil))
	s.Update(sync.Update{Services: []sync.Service{svc}})
	s.Resolve()
	if err := s.Table().Validate(); err != nil {
		t.Errorf("the kernel would refuse the table: %v", err)
	}
}

// FuzzNode takes a Node of any content.
func FuzzNode(f *testing.F) {
	f.Add("10.1.0.10", "fd01::10", "10.244.1.0/24", "east")
	f.Add("::ffff:10.1.0.10", "fe80::1%eth0", "0.0.0.0/0", "\x1b[2J\u202e")
	f.Add("", "host\nname", "::ffff:10.0.0.0/104", "\xff")
	f.Fuzz(func(t *testing.T, internal, external, pods, hostile string) {
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: hostile, Labels: map[string]string{corev1.LabelTopologyZone: hostile}}}
		node.Spec.PodCIDRs = []string{pods, hostile}
		node.Spec.Taints = []corev1.Taint{{Key: hostile, Value: hostile}, {Key: pods}}
		node.Status.Addresses = []corev1.NodeAddress{
			{Type: corev1.NodeInternalIP, Address: internal}, {Type: corev1.NodeExternalIP, Address: external}, {Type: corev1.NodeAddressType(hostile), Address: hostile},
		}
		got, problems := translateNode(node)
		refused := 4 - len(got.InternalIPs) - len(got.ExternalIPs) - len(got.PodCIDRs)
		if hostile == string(corev1.NodeInternalIP) || hostile == string(corev1.NodeExternalIP) {
			refused++
		}
		if len(problems) != refused {
			t.Errorf("%d values are not used, and %d problems are told: %v", refused, len(problems), problems)
		}
		for _, p := range problems {
			if sync.Printable(p.Message) != p.Message {
				t.Errorf("a message for terminals: %q", p.Message)
			}
		}
		for _, a := range append(got.InternalIPs, got.ExternalIPs...) {
			if !a.IsValid() || a.Is4In6() || a.Zone() != "" {
				t.Errorf("address %v", a)
			}
		}
		for _, p := range got.PodCIDRs {
			if !p.IsValid() || p != p.Masked() || p.Addr().Is4In6() {
				t.Errorf("network %v", p)
			}
		}
		if (got.Ineligible != "") != (hostile == taintToBeDeleted || pods == taintToBeDeleted) {
			t.Errorf("taints %q and %q: %q", hostile, pods, got.Ineligible)
		}
	})
}
