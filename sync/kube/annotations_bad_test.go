package kube

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/kube-ipvs/kube-ipvs/sync"
)

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
		closing("source-ranges=", "no range is written: write a network such as 10.0.0.0/8 or fd00::/8, or remove it"),
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

// What a terminal would take for a command is shown as what it is, whoever reads it where.
func TestNoValueIsShownAsItWouldHurtATerminal(t *testing.T) {
	const evil = "\x1b[31m\u202e\x00"
	for _, a := range annotations() {
		shows := false
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
				shows = shows || strings.Contains(text, a.key) && strings.Contains(text, `\x1b[31m`)
			}
		}
		if !shows {
			t.Errorf("%s: no value is shown", a.key)
		}
	}
}

// The API server takes thousands of them. Each of those that are not looked at may be a restriction that is misspelt.
func TestOfVeryManyUnknownAnnotationsFewAreToldAndTheServiceIsClosed(t *testing.T) {
	unknown := func(n int) sync.Service {
		var texts []string
		for i := range n {
			texts = append(texts, fmt.Sprintf("%05x=", i))
		}
		return Translate(annotated(texts...), nil, Options{})
	}
	if few := unknown(maxUnknown); len(few.Ports) == 0 || len(few.Problems) != maxUnknown {
		t.Errorf("%d unknown annotations: %d ports, %d problems", maxUnknown, len(few.Ports), len(few.Problems))
	}
	many := unknown(14_000)
	if len(many.Ports) > 0 {
		t.Error("it is open, whatever the others were meant to be")
	}
	if len(many.Problems) != maxUnknown+1 || len(many.Settings) != maxUnknown {
		t.Errorf("of very many unknown annotations %d problems and %d settings are told", len(many.Problems), len(many.Settings))
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
