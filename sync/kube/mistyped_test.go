package kube

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// faultsOf are what is wrong with a Service prod/web that has these lines, without its place.
func faultsOf(t *testing.T, kind string, lines ...string) []string {
	t.Helper()
	text := "apiVersion: v1\nkind: " + kind + "\nmetadata:\n  name: web\n  namespace: prod\n" + strings.Join(lines, "\n")
	objects, problems, _ := filesOf("f.yaml", text).content()
	for _, p := range problems {
		if p.Object != kind+" prod/web" && p.Object != "f.yaml document 1 (line 1)" {
			t.Errorf("problem of %q", p.Object)
		}
	}
	var texts []string
	for _, p := range problems {
		texts = append(texts, strings.TrimPrefix(p.Message, "f.yaml document 1 (line 1): "))
		if _, read := objects[objectKey{kind, "prod", "web"}]; read == p.Skipped {
			t.Errorf("skipped: %v, and read: %v", p.Skipped, read)
		}
	}
	return texts
}

func filesOf(name, text string) files {
	all := files{}
	d := decode(name, []byte(text))
	f := all.get(name, true)
	for _, fault := range d.faults {
		f.problems = append(f.problems, f.problem(fault, &d))
	}
	f.objects = d.objects
	return all
}

func TestAFieldOfTheWrongTypeIsNamedInTheWordsOfTheManifest(t *testing.T) {
	const yes = ": write it in quotes (YAML takes y, yes, on, n, no and off for truth values too)"
	for line, want := range map[string]string{
		"  annotations: {kube-ipvs.io/one-packet: true}":    `metadata.annotations["kube-ipvs.io/one-packet"] is the truth value true, where a text is wanted` + yes,
		"  annotations: {a: b, c: 30}":                      `metadata.annotations["c"] is the number 30, where a text is wanted: write it in quotes`,
		"  annotations: {a: {b: c}}":                        `metadata.annotations["a"] is a mapping, where a text is wanted`,
		"  annotations: [a]":                                `metadata.annotations is a list, where a mapping is wanted`,
		"spec: {ports: [{port: 80}, {name: y}]}":            `spec.ports[1].name is the truth value true, where a text is wanted` + yes,
		"spec: {ports: [{port: 80}, {port: \"81\"}]}":       `spec.ports[1].port is the text "81", where a whole number of 32 bits is wanted: write it without quotes`,
		"spec: {ports: [{port: eighty}]}":                   `spec.ports[0].port is the text "eighty", where a whole number of 32 bits is wanted`,
		"spec: {ports: [{port: 1.5}]}":                      `spec.ports[0].port is the number 1.5, where a whole number of 32 bits is wanted`,
		"spec: {ports: [{port: 99999999999}]}":              `spec.ports[0].port is the number 99999999999, where a whole number of 32 bits is wanted`,
		"spec: {ports: {port: 80}}":                         `spec.ports is a mapping, where a list is wanted`,
		"spec: {ports: [{port: 80}, 7]}":                    `spec.ports[1] is the number 7, where a mapping is wanted`,
		"spec: [a]":                                         `spec is a list, where a mapping is wanted`,
		"spec: {publishNotReadyAddresses: \"true\"}":        `spec.publishNotReadyAddresses is the text "true", where true or false is wanted: write it without quotes`,
		"  creationTimestamp: yesterday":                    `"yesterday" is no time: write one as 2006-01-02T15:04:05Z`,
		"  annotation: {kube-ipvs.io/source-ranges: x}":     `unknown field "metadata.annotation" is taken for metadata.annotations, which may restrict who reaches the Service`,
		"spec: {loadBalancerSourceRange: [\"10.0.0.0/8\"]}": `unknown field "spec.loadBalancerSourceRange" is taken for spec.loadBalancerSourceRanges, which may restrict who reaches the Service`,
	} {
		got := faultsOf(t, kindService, line)
		if diff := cmp.Diff([]string{want + "; no node port of the Service is served"}, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", line, diff)
		}
	}
}

func TestAnUnknownFieldIsToldWithTheOneThatWasMeant(t *testing.T) {
	for line, want := range map[string]string{
		"spec: {externalTraficPolicy: Local}":                           `unknown field "spec.externalTraficPolicy" (did you mean spec.externalTrafficPolicy?)`,
		"spec: {ports: [{}, {nodPort: 30080}]}":                         `unknown field "spec.ports[1].nodPort" (did you mean spec.ports[1].nodePort?)`,
		"spec: {ports: [{NodePort: 30080}]}":                            `unknown field "spec.ports[0].NodePort" (did you mean spec.ports[0].nodePort?)`,
		"spec: {sessionAfinityConfig: {clientIP: {timeoutSeconds: 3}}}": `unknown field "spec.sessionAfinityConfig" (did you mean spec.sessionAffinityConfig?)`,
		"spec: {sessionAffinityConfig: {clientIP: {timeoutSecond: 3}}}": `unknown field "spec.sessionAffinityConfig.clientIP.timeoutSecond" (did you mean spec.sessionAffinityConfig.clientIP.timeoutSeconds?)`,
		"colour: red": `unknown field "colour"`,
	} {
		got := faultsOf(t, kindService, line)
		if diff := cmp.Diff([]string{want + "; the rest of the object is used"}, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", line, diff)
		}
	}
	slice := decode("f", []byte("apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: web-1, annotation: {}}\n"))
	if len(slice.objects) != 1 || len(slice.faults) != 1 || slice.faults[0].fatal {
		t.Errorf("an EndpointSlice, which restricts nobody: %+v", slice)
	}
}

func TestAKindThatIsNearlyOneThatIsReadIsTold(t *testing.T) {
	for kind, want := range map[string]string{
		"v1 service": "Service", "v1 SERVICE": "Service", "v1 Servce": "Service", "v1 Services": "Service", "v1 node": "Node",
		"discovery.k8s.io/v1 EndpointSlices": "EndpointSlice",
		"v1 Secret":                          "", "v1 Pod": "", "example.com/v1 service": "", "networking.k8s.io/v1 ServiceCIDR": "", "serving.knative.dev/v1 Service": "",
	} {
		version, name, _ := strings.Cut(kind, " ")
		d := decode("f", []byte("apiVersion: "+version+"\nkind: "+name+"\nmetadata: {name: web}\n"))
		switch {
		case want == "" && len(d.faults)+len(d.objects) > 0:
			t.Errorf("%s: %+v", kind, d)
		case want != "" && (len(d.faults) != 1 || !d.faults[0].fatal || !strings.HasSuffix(d.faults[0].message, "is not read; write kind: "+want)):
			t.Errorf("%s: %+v", kind, d.faults)
		}
	}
}
