package kube

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/kube-ipvs/kube-ipvs/allocator"
	"github.com/kube-ipvs/kube-ipvs/nodeaddr"
	"github.com/kube-ipvs/kube-ipvs/sync"
)

// choosing are options of a node with two networks.
func choosing(t testing.TB) Options {
	t.Helper()
	o := testOptions()
	var err error
	o.Networks, err = nodeaddr.ParseNetworks([]string{"internal=10.0.0.0/8,iface:eth1", "dmz=iface:dmz*"})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// annotated is a Service with annotations, KEY=VALUE each, of which ours have no prefix.
func annotated(texts ...string) *corev1.Service {
	svc := webService("web", 30080)
	svc.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
	svc.Annotations = map[string]string{}
	for _, text := range texts {
		key, value, _ := strings.Cut(text, "=")
		if !strings.Contains(key, "/") {
			key = annotationPrefix + key
		}
		svc.Annotations[key] = value
	}
	return svc
}

// webSlice has an endpoint in each of two zones and on each of two nodes.
func webSlice() *discoveryv1.EndpointSlice {
	s := ipv4Slice("web", "web-1", 8080, endpointAt("10.244.1.1"), endpointAt("10.244.2.1"))
	s.Endpoints[0].NodeName, s.Endpoints[0].Zone = ptr("node-a"), ptr("east")
	s.Endpoints[1].NodeName, s.Endpoints[1].Zone = ptr("node-b"), ptr("west")
	return s
}

// effect is what annotations change of a Service, "" if nothing.
func effect(s sync.Service) string {
	var words []string
	say := func(format string, args ...any) { words = append(words, fmt.Sprintf(format, args...)) }
	if s.Networks != nil {
		say("networks [%s]", s.Networks)
	}
	if s.Sources != nil {
		say("sources [%s]", s.Sources)
	}
	if len(s.Ports) == 0 {
		return strings.Join(append(words, "closed"), " ")
	}
	p := s.Ports[0]
	if p.Scheduler != "" {
		say("scheduler %s", p.Scheduler)
	}
	if p.SchedulerFlags != 0 {
		say("flags %s", p.SchedulerFlags)
	}
	if p.Limits != (sync.Limits{}) {
		say("limits %d/%d", p.Limits.Upper, p.Limits.Lower)
	}
	if p.SlowStart != 0 {
		say("slow start %s", p.SlowStart)
	}
	if p.DrainTimeout != 0 {
		say("drain timeout %s", p.DrainTimeout)
	}
	if p.Affinity.Prefix4+p.Affinity.Prefix6 != 0 {
		say("affinity /%d /%d", p.Affinity.Prefix4, p.Affinity.Prefix6)
	}
	for _, e := range p.Endpoints {
		switch {
		case e.Maintenance:
			say("maintenance")
		case e.Weight != 0:
			say("weight %d", e.Weight)
		}
	}
	return strings.Join(words, " ")
}

// settingsText has a line for each setting: what is in force, and why not all of it is.
func settingsText(s sync.Service) []string {
	var lines []string
	for _, set := range s.Settings {
		line := strings.TrimPrefix(set.Name, annotationPrefix) + ": " + set.InForce
		if set.Why != "" {
			line += " | " + set.Why
		}
		lines = append(lines, line)
	}
	return lines
}

func problemTexts(s sync.Service) []string {
	var lines []string
	for _, p := range s.Problems {
		text := p.Message
		if p.Skipped {
			text = "skipped: " + text
		}
		lines = append(lines, text)
	}
	return lines
}

// annotationCase is what somebody writes and what comes of it. A Why that says no more than the Problem is left out.
type annotationCase struct {
	name     string
	written  []string
	effect   string
	settings []string
	problems []string
}

func (c annotationCase) check(t *testing.T, o Options, change ...func(*corev1.Service)) {
	t.Helper()
	svc := annotated(c.written...)
	for _, f := range change {
		f(svc)
	}
	got := Translate(svc, []*discoveryv1.EndpointSlice{webSlice()}, o)
	if diff := cmp.Diff(c.effect, effect(got)); diff != "" {
		t.Errorf("effect (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(c.settings, settingsText(got)); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(c.problems, problemTexts(got)); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	for _, s := range got.Settings {
		if s.Written != svc.Annotations[s.Name] && s.Name != settingSpecRanges {
			t.Errorf("%s is shown as %q", s.Name, s.Written)
		}
		if scheduler := strings.HasSuffix(s.Name, "scheduler"); scheduler && s.Scheduler != s.InForce || !scheduler && s.Scheduler != "" {
			t.Errorf("%s chooses scheduler %q, in force is %q", s.Name, s.Scheduler, s.InForce)
		}
	}
}

// What is written well is in force in its canonical form.
func TestGoodValuesOfAnnotations(t *testing.T) {
	for _, c := range []annotationCase{
		{"no annotation", nil, "", nil, nil},
		{"somebody else's", []string{"example.com/networks=x"}, "", nil, nil},
		{"networks", []string{"networks= internal , fd00::1/8"}, "networks [10.0.0.0/8,iface:eth1,fd00::/8]", []string{"networks: 10.0.0.0/8,iface:eth1,fd00::/8"}, nil},
		{"source ranges", []string{"source-ranges=10.1.2.3/8, fd00::1 ,192.0.2.7,10.1.0.0/16"}, "sources [allow 10.0.0.0/8 192.0.2.7/32 fd00::1/128]", []string{"source-ranges: 10.0.0.0/8,192.0.2.7/32,fd00::1/128"}, nil},
		{"everybody", []string{"source-ranges=0.0.0.0/0,::/0"}, "sources [allow 0.0.0.0/0 ::/0]", []string{"source-ranges: 0.0.0.0/0,::/0"}, nil},
		{"ranges that are denied", []string{"deny-source-ranges=10.66.0.0/16"}, "sources [deny 10.66.0.0/16]", []string{"deny-source-ranges: 10.66.0.0/16"}, nil},
		{"both", []string{"deny-source-ranges=10.66.0.0/16", "source-ranges=10.0.0.0/8"}, "sources [allow 10.0.0.0/8 deny 10.66.0.0/16]", []string{"source-ranges: 10.0.0.0/8", "deny-source-ranges: 10.66.0.0/16"}, nil},
		{"a scheduler", []string{"scheduler=mh"}, "scheduler mh", []string{"scheduler: mh"}, nil},
		{"blanks around a value", []string{"scheduler= mh ", "upper-threshold= 10", "slow-start=30s\n", "affinity-prefix=\t/24"}, "scheduler mh limits 10/0 slow start 30s affinity /24 /0", []string{"scheduler: mh", "upper-threshold: 10", "slow-start: 30s", "affinity-prefix: /24"}, nil},
		{"the port for mh", []string{"scheduler-flags=mh-port"}, "flags mh-fallback,mh-port", []string{"scheduler-flags: mh-fallback,mh-port"}, nil},
		{"all flags", []string{"scheduler-flags=sh-port, mh-port,sh-no-fallback,mh-no-fallback"}, "flags sh-no-fallback,sh-port,mh-no-fallback,mh-port", []string{"scheduler-flags: sh-no-fallback,sh-port,mh-no-fallback,mh-port"}, nil},
		{"what is on anyway", []string{"scheduler-flags=mh-fallback"}, "", []string{"scheduler-flags: sh-fallback,mh-fallback"}, nil},
		{"a flag of each", []string{"scheduler-flags=sh-no-fallback,mh-fallback"}, "flags sh-no-fallback", []string{"scheduler-flags: sh-no-fallback"}, nil},
		{"weights of zones", []string{"weights=zone:east=3, zone:west=007"}, "weight 3 weight 7", []string{"weights: zone:east=3,zone:west=7"}, nil},
		{"maintenance of a node", []string{"weights=node:node-b=0"}, "weight 1 maintenance", []string{"weights: node:node-b=0"}, nil},
		{"an upper threshold", []string{"upper-threshold=1000"}, "limits 1000/0", []string{"upper-threshold: 1000"}, nil},
		{"the largest", []string{"upper-threshold=2147483647", "lower-threshold=2147483647"}, "limits 2147483647/2147483647", []string{"upper-threshold: 2147483647", "lower-threshold: 2147483647"}, nil},
		{"both thresholds", []string{"lower-threshold=08", "upper-threshold=10"}, "limits 10/8", []string{"upper-threshold: 10", "lower-threshold: 8"}, nil},
		{"slow start", []string{"slow-start=90s"}, "slow start 1m30s", []string{"slow-start: 1m30s"}, nil},
		{"the shortest and the longest", []string{"slow-start=60m"}, "slow start 1h0m0s", []string{"slow-start: 1h0m0s"}, nil},
		{"slow start with the largest weight that it knows", []string{"slow-start=1s", "weights=*=6553"}, "slow start 1s weight 6553 weight 6553", []string{"weights: *=6553", "slow-start: 1s"}, nil},
		{"the largest weight without it", []string{"weights=*=65535"}, "weight 65535 weight 65535", []string{"weights: *=65535"}, nil},
		{"prefixes of affinity", []string{"affinity-prefix=/64, /24"}, "affinity /24 /64", []string{"affinity-prefix: /24,/64"}, nil},
		{"kube-router's scheduler", []string{"kube-router.io/service.scheduler=lc"}, "scheduler lc", []string{"kube-router.io/service.scheduler: lc"}, nil},
		{"kube-router's flags", []string{"kube-router.io/service.schedflags=flag-1, flag-2"}, "flags mh-fallback,mh-port", []string{"kube-router.io/service.schedflags: mh-fallback,mh-port"}, nil},
		{"those that mean nothing new", []string{"kube-router.io/service.schedflags=flag-1,flag-3"}, "", []string{"kube-router.io/service.schedflags: sh-fallback,mh-fallback"}, nil},
		{
			"kube-router's beside ours",
			[]string{"kube-router.io/service.scheduler=lc", "kube-router.io/service.schedflags=flag-2", "scheduler=sh", "scheduler-flags=sh-port"},
			"scheduler sh flags sh-fallback,sh-port",
			[]string{
				"scheduler: sh", "scheduler-flags: sh-fallback,sh-port",
				"kube-router.io/service.scheduler:  | not read, since kube-ipvs.io/scheduler is there",
				"kube-router.io/service.schedflags:  | not read, since kube-ipvs.io/scheduler-flags is there",
			},
			nil,
		},
		{"what else kube-router reads", []string{"kube-router.io/service.dsr=tunnel", "kube-router.io/service.hairpin="}, "", nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) { c.check(t, choosing(t)) })
	}
}

// What is in force is what counts when it is written again; only the list of ranges is cut, and nothing else is.
func TestWhatIsInForceReadsBack(t *testing.T) {
	o := choosing(t)
	o.ExtraPorts = new(allocator.Ports)
	o.ExtraPorts.Add(80, 443)
	for _, a := range annotations() {
		if a.read == nil || a.key == kubeRouterPrefix+"schedflags" {
			continue
		}
		var w, again wanted
		once, err := a.read(a.example, o, &w)
		if err != nil && a.key != annotationScheduler { // the example need not be allowed here
			t.Errorf("the example of %s: %v", a.key, err)
		}
		if err != nil {
			continue
		}
		twice, err := a.read(once, o, &again)
		if err != nil || once != twice {
			t.Errorf("%s: %q is in force as %q, and that as %q, %v", a.key, a.example, once, twice, err)
		}
	}
}

func TestLongListOfRangesIsCutForPeopleAndWhole(t *testing.T) {
	var list []string
	for i := range 10_000 {
		list = append(list, fmt.Sprintf("10.%d.%d.1", i/256, i%256))
	}
	got := Translate(annotated("source-ranges="+strings.Join(list, ",")), nil, testOptions())
	if n := len(got.Sources.Allow()); n != 10_000 {
		t.Errorf("%d ranges", n)
	}
	want := strings.Join(slices.Collect(func(yield func(string) bool) {
		for _, text := range list[:16] {
			if !yield(text + "/32") {
				return
			}
		}
	}), ",") + " and 9984 more"
	if diff := cmp.Diff(want, got.Settings[0].InForce); diff != "" {
		t.Errorf("in force (-want +got):\n%s", diff)
	}
}

// The node's flag decides, and the annotation comes first.
func TestRangesOfTheSpec(t *testing.T) {
	balancer := func(ranges ...string) func(*corev1.Service) {
		return func(svc *corev1.Service) {
			svc.Spec.Type, svc.Spec.LoadBalancerSourceRanges = corev1.ServiceTypeLoadBalancer, ranges
		}
	}
	nodePort := func(svc *corev1.Service) { svc.Spec.LoadBalancerSourceRanges = []string{"10.0.0.0/8"} }
	for _, c := range []struct {
		annotationCase
		enforced bool
		change   func(*corev1.Service)
	}{
		{annotationCase{"not enforced", nil, "", nil, nil}, false, balancer("10.0.0.0/8")},
		{annotationCase{"nor understood", nil, "", nil, nil}, false, balancer("x")},
		{annotationCase{"enforced", nil, "sources [allow 10.0.0.0/8 fd00::/8]", []string{"spec.loadBalancerSourceRanges: 10.0.0.0/8,fd00::/8"}, nil}, true, balancer(" 10.1.2.3/8 ", "fd00::/8")},
		{annotationCase{"none", nil, "", nil, nil}, true, balancer()},
		{annotationCase{"for a Service without a load balancer", nil, "", nil, nil}, true, nodePort},
		{annotationCase{"beside the annotation", []string{"source-ranges=192.0.2.0/24"}, "sources [allow 192.0.2.0/24]", []string{"source-ranges: 192.0.2.0/24"}, nil}, true, balancer("10.0.0.0/8")},
		{
			annotationCase{
				"beside an annotation that cannot be read",
				[]string{"source-ranges=x"},
				"closed",
				closing("source-ranges=x", `"x" is not a network such as 10.0.0.0/8 or fd00::/8, nor an address`).settings,
				closing("source-ranges=x", `"x" is not a network such as 10.0.0.0/8 or fd00::/8, nor an address`).problems,
			}, true, balancer("10.0.0.0/8"),
		},
		{
			annotationCase{
				"beside others that restrict too",
				[]string{"deny-source-ranges=10.66.0.0/16", "networks=dmz"},
				"networks [iface:dmz*] sources [allow 10.0.0.0/8 deny 10.66.0.0/16]",
				[]string{"spec.loadBalancerSourceRanges: 10.0.0.0/8", "networks: iface:dmz*", "deny-source-ranges: 10.66.0.0/16"},
				nil,
			}, true, balancer("10.0.0.0/8"),
		},
		{
			annotationCase{
				"not understood", nil, "closed",
				[]string{`spec.loadBalancerSourceRanges:  | "x" is not a network such as 10.0.0.0/8 or fd00::/8, nor an address; the Service is not served`},
				[]string{`skipped: spec.loadBalancerSourceRanges: "x" is not a network such as 10.0.0.0/8 or fd00::/8, nor an address; no node port of the Service is served until it is mended`},
			}, true, balancer("10.0.0.0/8", "x"),
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := choosing(t)
			o.SpecSourceRanges = c.enforced
			c.check(t, o, c.change)
		})
	}
}

// An annotation without a name, which only a manifest can have, stands for no other one.
func TestAnnotationWithoutANameChangesNothing(t *testing.T) {
	svc := annotated("networks=10.0.0.1")
	svc.Annotations[""] = "x"
	if got := Translate(svc, nil, testOptions()); effect(got) != "closed" {
		t.Errorf("it is %q, settings %q", effect(got), settingsText(got))
	}
}

func TestWeightsAreThoseOfTheFirstEntryThatFits(t *testing.T) {
	labels := map[string]string{"rack": "r1", "empty": "", "tier": "gold=1"}
	for _, c := range []struct {
		name, weights, zone, node string
		want                      uint16
	}{
		{"none fits", "zone:east=3", "west", "n1", 1},
		{"the zone", "zone:east=3", "east", "n1", 3},
		{"no zone", "zone:east=3", "", "n1", 1},
		{"the node", "node:n1=5", "east", "n1", 5},
		{"a node of another name", "node:n1=5", "east", "n10", 1},
		{"an endpoint without a node", "node:n1=5,label:rack=7", "east", "", 1},
		{"a label", "label:rack=7", "", "n1", 7},
		{"a label without a value", "label:empty=7", "", "n1", 7},
		{"a label that it has not", "label:shelf=7", "", "n1", 1},
		{"a label with its value", "label:rack=r1=7", "", "n1", 7},
		{"with another value", "label:rack=r2=7", "", "n1", 1},
		{"with the empty value", "label:empty==7", "", "n1", 7},
		{"not empty", "label:rack==7", "", "n1", 1},
		{"a value with an equals sign, which no label of Kubernetes has", "label:tier=gold=1=7", "", "n1", 7},
		{"everybody", "*=9", "", "", 9},
		{"the first counts", "zone:east=3,node:n1=5,*=9", "east", "n1", 3},
		{"not the largest", "*=2,zone:east=3", "east", "n1", 2},
		{"nor the most exact", "label:rack=4,label:rack=r1=5,node:n1=6", "east", "n1", 4},
		{"the last", "zone:west=3,node:n2=5,label:shelf=2,*=9", "east", "n1", 9},
		{"maintenance", "node:n1=0,*=9", "east", "n1", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			var w wanted
			text, err := readWeights(c.weights, Options{}, &w)
			if err != nil || text != c.weights {
				t.Fatalf("read as %q, %v", text, err)
			}
			of := map[string]map[string]string{"n1": labels}
			if got := w.weights.of(c.zone, c.node, of[c.node]); got != c.want {
				t.Errorf("weight %d, want %d", got, c.want)
			}
		})
	}
}

// The load balancer should send its clients elsewhere before the endpoint is taken out.
func TestEndpointInMaintenanceIsNotHealthy(t *testing.T) {
	slice := webSlice()
	slice.Endpoints[1].NodeName = ptr("node-a")
	for text, want := range map[string]string{
		"weights=*=2":         "[10.244.1.1 10.244.2.1]",
		"weights=zone:west=0": "[10.244.1.1]",
		"weights=*=0":         "[]",
	} {
		svc := annotated(text)
		svc.Spec.Type, svc.Spec.ExternalTrafficPolicy, svc.Spec.HealthCheckNodePort = corev1.ServiceTypeLoadBalancer, "Local", 32000
		got := Translate(svc, []*discoveryv1.EndpointSlice{slice}, testOptions())
		if ready := fmt.Sprint(got.LocalReady); ready != want || got.HealthCheckNodePort != 32000 {
			t.Errorf("%s: %d endpoints ready here: %s, want %s", text, len(got.LocalReady), ready, want)
		}
	}
}
