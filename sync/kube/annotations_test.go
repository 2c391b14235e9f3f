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

// bad is the case of one annotation that counts as absent.
func bad(written, message, otherwise string) annotationCase {
	key, _, _ := strings.Cut(written, "=")
	return annotationCase{
		written: []string{written}, settings: []string{key + ":  | " + message + "; " + otherwise},
		problems: []string{"annotation " + full(key) + ": " + message + "; " + otherwise},
	}
}

// closing is that of a restriction.
func closing(written, message string) annotationCase {
	key, _, _ := strings.Cut(written, "=")
	return annotationCase{
		written: []string{written}, effect: "closed", settings: []string{key + ":  | " + message + "; the Service is not served"},
		problems: []string{"skipped: annotation " + full(key) + ": " + message + "; no node port of the Service is served until it is mended, since it would be open wider than it asks"},
	}
}

func full(key string) string {
	if strings.Contains(key, "/") {
		return key
	}
	return annotationPrefix + key
}

// What is written badly is said to whoever wrote it.
func TestBadValuesOfAnnotations(t *testing.T) {
	const (
		flags     = "known are sh-port, sh-fallback, sh-no-fallback, mh-port, mh-fallback, mh-no-fallback"
		ofFlags   = "the scheduler's defaults are used"
		scheduler = "is not one of those allowed (lc, mh, rr, sh, wrr)"
		ofSched   = "the node's default is used"
		write     = "write WHO=WEIGHT, for example zone:eu-1a=3"
		who       = "write zone:NAME, node:NAME, label:KEY, label:KEY=VALUE or * before the weight"
		ofWeights = "all endpoints have weight 1"
		threshold = "is not a number of connections from 1 to 2147483647"
		duration  = "is not a duration from 1s to 1h, for example 30s"
		ofStart   = "new endpoints get their whole weight at once"
		prefixes  = "write a prefix length of each family, for example /24,/64 (up to /32 is for IPv4, above for IPv6)"
		each      = "each client counts by itself"
		comma     = "a comma too many: an entry is empty"
		network   = "is not a network such as 10.0.0.0/8 or fd00::/8, nor an address"
	)
	for _, c := range []annotationCase{
		closing("networks=", `"": empty entry: take out the comma too many; to serve no address write "127.0.0.0/8,::1/128"`),
		closing("networks=internal,10.0.0.1", `"10.0.0.1": a single address needs its length: write 10.0.0.1/32`),
		closing("networks=Internal", `"Internal": names of networks are in lower case; for an interface write "iface:Internal"`),
		closing("source-ranges=", `"" `+network),
		closing("source-ranges=10.0.0.0/8,", comma),
		closing("deny-source-ranges=10.0.0.0/8,,::1", comma),
		bad("scheduler-flags=,mh-port", comma, ofFlags),
		bad("weights=zone:east=3, ", comma, ofWeights),
		bad("affinity-prefix=/24,", comma, each),
		bad("kube-router.io/service.schedflags=flag-1,,flag-2", comma, ofFlags),
		closing("source-ranges=internal", `"internal" `+network),
		closing("source-ranges=10.0.0.0/33", `"10.0.0.0/33" `+network),
		closing("source-ranges=10.0.0.0-10.0.0.9", `"10.0.0.0-10.0.0.9" `+network),
		closing("source-ranges=fe80::1%eth0", `"fe80::1%eth0" `+network),
		closing("source-ranges=::ffff:10.0.0.1", `"::ffff:10.0.0.1" is IPv4 in IPv6 notation: write it as IPv4`),
		closing("deny-source-ranges=10.0.0.0/8;10.1.0.0/16", `"10.0.0.0/8;10.1.0.0/16" `+network),
		closing("deny-source-ranges=::ffff:0:0/96", `"::ffff:0:0/96" is IPv4 in IPv6 notation: write it as IPv4`),
		bad("scheduler=", `scheduler "" `+scheduler, ofSched),
		bad("scheduler=RR", `scheduler "RR" `+scheduler, ofSched),
		bad("scheduler=twos", `scheduler "twos" `+scheduler, ofSched),
		bad("scheduler-flags=", `unknown flag ""; `+flags, ofFlags),
		bad("scheduler-flags=mh-port,lc-port", `unknown flag "lc-port"; `+flags, ofFlags),
		bad("scheduler-flags=sh-fallback,sh-no-fallback", "sh-fallback and sh-no-fallback contradict each other", ofFlags),
		bad("scheduler-flags=mh-no-fallback,mh-port,mh-fallback", "mh-fallback and mh-no-fallback contradict each other", ofFlags),
		bad("weights=", `"": `+write, ofWeights),
		bad("weights=zone:east", `"zone:east": `+write, ofWeights),
		bad("weights=*=0,zone:east=", `"zone:east=": "" is not a weight from 0 to 65535`, ofWeights),
		bad("weights=zone:east=65536", `"zone:east=65536": "65536" is not a weight from 0 to 65535`, ofWeights),
		bad("weights=zone:east=-1", `"zone:east=-1": "-1" is not a weight from 0 to 65535`, ofWeights),
		bad("weights=east=3", `"east=3": `+who, ofWeights),
		bad("weights=pod:a=3", `"pod:a=3": `+who, ofWeights),
		bad("weights=*:a=3", `"*:a=3": `+who, ofWeights),
		bad("weights=zone:=3", `"zone:=3": the name after "zone:" is missing`, ofWeights),
		bad("weights=node=3", `"node=3": the name after "node:" is missing`, ofWeights),
		bad("weights=label:=a=3", `"label:=a=3": the name after "label:" is missing`, ofWeights),
		bad("upper-threshold=0", `"0" `+threshold, "there is no limit"),
		bad("upper-threshold=2147483648", `"2147483648" `+threshold, "there is no limit"),
		bad("upper-threshold=1e3", `"1e3" `+threshold, "there is no limit"),
		bad("lower-threshold=", `"" `+threshold, "it is three quarters of the upper one, as the kernel has it"),
		bad("slow-start=30", `"30" `+duration, ofStart),
		bad("slow-start=999ms", `"999ms" `+duration, ofStart),
		bad("slow-start=1h0m1s", `"1h0m1s" `+duration, ofStart),
		bad("slow-start=-30s", `"-30s" `+duration, ofStart),
		bad("affinity-prefix=24", `"24": `+prefixes, each),
		bad("affinity-prefix=/24,/16", `"/16": `+prefixes, each),
		bad("affinity-prefix=/64,/65", `"/65": `+prefixes, each),
		bad("affinity-prefix=/0", `"/0": `+prefixes, each),
		bad("affinity-prefix=/24,/129", `"/129": `+prefixes, each),
		bad("kube-router.io/service.scheduler=twos", `scheduler "twos" `+scheduler, ofSched),
		bad("kube-router.io/service.schedflags=flag-2,flag-4", `unknown flag "flag-4"; known are flag-1, flag-2, flag-3`, ofFlags),
	} {
		t.Run(c.written[0], func(t *testing.T) { c.check(t, choosing(t)) })
	}
}

// What can be read and makes no sense beside the rest.
func TestAnnotationsThatDoNotFitTheRest(t *testing.T) {
	for _, c := range []annotationCase{
		{
			"a network that is not defined here",
			[]string{"networks=internal,storage,lan"},
			"networks [10.0.0.0/8,iface:eth1]",
			[]string{"networks: 10.0.0.0/8,iface:eth1 | storage, lan selects nothing: it is not defined on this node (--network defines dmz, internal); for an interface write iface:NAME"},
			[]string{"annotation kube-ipvs.io/networks: storage, lan selects nothing: it is not defined on this node (--network defines dmz, internal); for an interface write iface:NAME"},
		},
		{
			"none but one that is not defined here",
			[]string{"networks=storage"},
			"networks []",
			[]string{"networks: selects nothing | storage selects nothing: it is not defined on this node (--network defines dmz, internal); for an interface write iface:NAME"},
			[]string{"annotation kube-ipvs.io/networks: storage selects nothing: it is not defined on this node (--network defines dmz, internal); for an interface write iface:NAME"},
		},
		{
			"a lower threshold alone",
			[]string{"lower-threshold=8"},
			"",
			[]string{"lower-threshold:  | has no effect without upper-threshold"},
			[]string{"annotation kube-ipvs.io/lower-threshold: has no effect without upper-threshold"},
		},
		{
			"a lower threshold beside a bad upper one",
			[]string{"lower-threshold=8", "upper-threshold=x"},
			"",
			[]string{
				`upper-threshold:  | "x" is not a number of connections from 1 to 2147483647; there is no limit`,
				"lower-threshold:  | has no effect without upper-threshold",
			},
			[]string{
				"annotation kube-ipvs.io/lower-threshold: has no effect without upper-threshold",
				`annotation kube-ipvs.io/upper-threshold: "x" is not a number of connections from 1 to 2147483647; there is no limit`,
			},
		},
		{
			"a lower threshold above the upper one",
			[]string{"lower-threshold=11", "upper-threshold=10"},
			"limits 10/0",
			[]string{"upper-threshold: 10", "lower-threshold:  | 11 is above the upper threshold 10; three quarters of that are used, as the kernel has it"},
			[]string{"annotation kube-ipvs.io/lower-threshold: 11 is above the upper threshold 10; three quarters of that are used, as the kernel has it"},
		},
		{
			"weights that leave no room for the steps of slow start",
			[]string{"slow-start=30s", "weights=node:node-a=0,zone:west=6554"},
			"maintenance weight 6554",
			[]string{"weights: node:node-a=0,zone:west=6554", "slow-start:  | weight 6554 is above 6553, which is the most with slow-start; new endpoints get their whole weight at once"},
			[]string{"annotation kube-ipvs.io/slow-start: weight 6554 is above 6553, which is the most with slow-start; new endpoints get their whole weight at once"},
		},
		{
			"a bound for draining",
			[]string{"drain-timeout=90m"},
			"drain timeout 1h30m0s",
			[]string{"drain-timeout: 1h30m0s"},
			nil,
		},
		{
			"a bound for draining that is none",
			[]string{"drain-timeout=25h"},
			"",
			[]string{`drain-timeout:  | "25h" is not a duration from 1s to 24h, for example 30m; the node's --drain-timeout is used`},
			[]string{`annotation kube-ipvs.io/drain-timeout: "25h" is not a duration from 1s to 24h, for example 30m; the node's --drain-timeout is used`},
		},
		{
			"a restriction that is misspelt, beside one that is not",
			[]string{"source-range=10.0.0.0/8", "networks=internal"},
			"closed",
			[]string{"networks: 10.0.0.0/8,iface:eth1", "source-range:  | unknown; taken for kube-ipvs.io/source-ranges, so the Service is not served"},
			[]string{"skipped: unknown annotation kube-ipvs.io/source-range is taken for kube-ipvs.io/source-ranges, which restricts who reaches the Service; no node port of it is served until the annotation is spelt right or removed"},
		},
		{
			"a restriction in capitals",
			[]string{"NETWORKS=internal"},
			"closed",
			[]string{"NETWORKS:  | unknown; taken for kube-ipvs.io/networks, so the Service is not served"},
			[]string{"skipped: unknown annotation kube-ipvs.io/NETWORKS is taken for kube-ipvs.io/networks, which restricts who reaches the Service; no node port of it is served until the annotation is spelt right or removed"},
		},
		{
			"what is the opposite of deny-source-ranges",
			[]string{"allow-source-ranges=10.0.0.0/8"},
			"closed",
			[]string{"allow-source-ranges:  | unknown; taken for kube-ipvs.io/source-ranges, so the Service is not served"},
			[]string{"skipped: unknown annotation kube-ipvs.io/allow-source-ranges is taken for kube-ipvs.io/source-ranges, which restricts who reaches the Service; no node port of it is served until the annotation is spelt right or removed"},
		},
		{
			"what restricts nobody",
			[]string{"schedular=rr", "colour=red"},
			"",
			[]string{"colour:  | unknown", "schedular:  | unknown; did you mean kube-ipvs.io/scheduler?"},
			[]string{
				"unknown annotation kube-ipvs.io/colour has no effect; known are " + strings.Join(knownAnnotations(), ", "),
				"unknown annotation kube-ipvs.io/schedular has no effect; did you mean kube-ipvs.io/scheduler?",
			},
		},
		{
			"one restriction that can be read does not open what another closes",
			[]string{"source-ranges=x", "deny-source-ranges=10.0.0.0/8", "networks=all"},
			"closed",
			[]string{
				"networks: all",
				`source-ranges:  | "x" is not a network such as 10.0.0.0/8 or fd00::/8, nor an address; the Service is not served`,
				"deny-source-ranges: 10.0.0.0/8",
			},
			[]string{`skipped: annotation kube-ipvs.io/source-ranges: "x" is not a network such as 10.0.0.0/8 or fd00::/8, nor an address; no node port of the Service is served until it is mended, since it would be open wider than it asks`},
		},
		{
			"a bad annotation of ours beside kube-router's",
			[]string{"scheduler=fastest", "kube-router.io/service.scheduler=lc"},
			"",
			[]string{
				`scheduler:  | scheduler "fastest" is not one of those allowed (lc, mh, rr, sh, wrr); the node's default is used`,
				"kube-router.io/service.scheduler:  | not read, since kube-ipvs.io/scheduler is there",
			},
			[]string{`annotation kube-ipvs.io/scheduler: scheduler "fastest" is not one of those allowed (lc, mh, rr, sh, wrr); the node's default is used`},
		},
	} {
		t.Run(c.name, func(t *testing.T) { c.check(t, choosing(t)) })
	}
	t.Run("affinity-prefix without affinity", func(t *testing.T) {
		annotationCase{
			"",
			[]string{"affinity-prefix=/64"},
			"",
			[]string{"affinity-prefix:  | has no effect without sessionAffinity: ClientIP"},
			[]string{"annotation kube-ipvs.io/affinity-prefix: has no effect without sessionAffinity: ClientIP"},
		}.check(t, choosing(t), func(svc *corev1.Service) { svc.Spec.SessionAffinity = corev1.ServiceAffinityNone })
	})
	t.Run("a node without networks", func(t *testing.T) {
		annotationCase{
			"",
			[]string{"networks=internal"},
			"networks []",
			[]string{"networks: selects nothing | internal selects nothing: it is not defined on this node (--network defines none); for an interface write iface:NAME"},
			[]string{"annotation kube-ipvs.io/networks: internal selects nothing: it is not defined on this node (--network defines none); for an interface write iface:NAME"},
		}.check(t, testOptions())
	})
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

// What a terminal would take for a command is shown as what it is, whoever reads it where.
func TestNoValueIsShownAsItWouldHurtATerminal(t *testing.T) {
	const evil = "\x1b[31m\u202e\x00"
	for _, a := range annotations() {
		for _, value := range []string{
			evil, "iface:" + evil + "*", "iface:" + evil, "fe80::1%" + evil + "/64", "zone:" + evil + "=3", "label:" + evil + "=" + evil + "=3", "node:" + evil, evil + "=1",
		} {
			svc := annotated(a.key + "=" + value)
			svc.Annotations[annotationPrefix+evil] = "x"
			got := Translate(svc, nil, testOptions())
			shown := problemTexts(got)
			for _, s := range got.Settings {
				shown = append(shown, s.InForce, s.Why)
			}
			for _, text := range shown {
				if strings.ContainsAny(text, evil[:1]+"\u202e\x00") {
					t.Errorf("%s=%q is shown as %q", a.key, value, text)
				}
			}
		}
	}
}

// The API server takes 256 KiB of annotations. Lists of clients may need that; of all others it would cost each node half a
// second with every change of an endpoint, and tell tens of thousands of problems.
func TestValueTooLongCountsAsOneThatCannotBeRead(t *testing.T) {
	long := func(entry string) string {
		return strings.TrimSuffix(strings.Repeat(entry+",", maxValue/len(entry)), ",")
	}
	for _, a := range annotations() {
		if a.read == nil {
			continue
		}
		svc := Translate(annotated(a.key+"="+long("1=x,10.0.0.0/8")), nil, Options{})
		told := 0
		for _, p := range svc.Problems {
			told += len(p.Message)
			if a.restricts && !a.long && len(svc.Ports) > 0 {
				t.Errorf("%s is open", a.key)
			}
		}
		if len(svc.Problems) != 1 || told > 2*maxWhy {
			t.Errorf("%s: %d problems, of %d bytes", a.key, len(svc.Problems), told)
		}
	}
	var ranges []string
	for i := range 10_000 {
		ranges = append(ranges, fmt.Sprintf("10.%d.%d.0/25", i>>8, i&255))
	}
	if svc := Translate(annotated("source-ranges="+strings.Join(ranges, ",")), nil, Options{}); len(svc.Sources.Allow()) != len(ranges) || len(svc.Problems) != 0 {
		t.Errorf("a list of %d clients: %v", len(ranges), svc.Problems)
	}
	if svc := Translate(annotated("source-ranges="+strings.Repeat("x", 1<<17)), nil, Options{}); len(svc.Problems) != 1 || len(svc.Problems[0].Message) > 2*maxWhy {
		t.Errorf("a bad value is told in whole: %d problems", len(svc.Problems))
	}
}
