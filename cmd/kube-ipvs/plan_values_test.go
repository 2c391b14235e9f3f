package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode"
)

// onOneAddress is a command that reads manifests, for a node with one address that serves.
func onOneAddress(command string, flags ...string) []string {
	return append([]string{command, "--manifests", "-", "--node-name", "node1", "--node-addresses", "eth0=10.1.0.10/24", "--nodeport-addresses", "all"}, flags...)
}

// planned is what plan says of a Service with one annotation; the kinds of output that exist for it.
func planned(t *testing.T, annotation, value string) (stdout, stderr string) {
	t.Helper()
	manifest, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Service",
		"metadata": map[string]any{"name": "web", "annotations": map[string]string{annotation: value}},
		"spec":     map[string]any{"type": "NodePort", "ipFamilies": []string{"IPv4"}, "ports": []any{map[string]any{"port": 80, "nodePort": 30080}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	stdout, stderr, _ = kubeIPVS(t, string(manifest), onOneAddress("plan")...)
	if !strings.Contains(stdout, "default/web") {
		t.Fatalf("not planned:\n%s%s", stdout, stderr)
	}
	return stdout, stderr
}

// Whoever runs plan reads what others wrote.
func TestPlanShowsTerminalEscapesAsText(t *testing.T) {
	const evil = "\x1b[2J\x1b]0;owned\a\u202e\r\u0085"
	for _, annotation := range []string{
		"networks", "source-ranges", "deny-source-ranges", "scheduler", "scheduler-flags", "weights", "upper-threshold", "lower-threshold",
		"slow-start", "affinity-prefix", "one-packet", "drain-timeout", "extra-ports", "colour" + evil,
	} {
		for _, value := range []string{evil, "iface:" + evil + "*", "fe80::1%" + evil + "/64", "zone:" + evil + "=3", "node:" + evil + "=0,*=2"} {
			stdout, stderr := planned(t, "kube-ipvs.io/"+annotation, value)
			for _, r := range stdout + stderr {
				if r != '\n' && !unicode.IsPrint(r) {
					t.Errorf("%s=%q: %q reaches the terminal", annotation, value, r)
					break
				}
			}
			if !strings.Contains(annotation, evil) && !strings.Contains(stdout, `\x1b[2J`) {
				t.Errorf("%s=%q is not shown as text:\n%s", annotation, value, stdout)
			}
		}
	}
}

// plan and ports have no flags for where the agent listens.
func TestPlanKnowsWhereTheAgentListens(t *testing.T) {
	const manifest = `
apiVersion: v1
kind: Service
metadata: {name: web, annotations: {kube-ipvs.io/extra-ports: "10356=80,10349=80,22=80,443=80"}}
spec: {type: NodePort, ipFamilies: [IPv4], ports: [{port: 80, nodePort: 30080}]}
`
	for _, command := range []string{"plan", "ports"} {
		stdout, _, _ := kubeIPVS(t, manifest, onOneAddress(command, "--extra-port-range", "1-65535")...)
		if !strings.Contains(stdout, "443/tcp") || strings.Contains(stdout, "10356/tcp") || strings.Contains(stdout, "10349/tcp") || strings.Contains(stdout, "22/tcp") {
			t.Errorf("%s opens other ports than 443:\n%s", command, stdout)
		}
	}
	const told = "443=80; 10356, 10349, 22 is not opened: the ports of SSH"
	if stdout, _, _ := kubeIPVS(t, manifest, onOneAddress("plan", "--extra-port-range", "1-65535")...); !strings.Contains(stdout, told) {
		t.Errorf("not told:\n%s", stdout)
	}
}

// docs/security.md says whose ports they are.
func TestPortsOfTheNodeAreNeverOpenedForAService(t *testing.T) {
	const manifest = `
apiVersion: v1
kind: Service
metadata: {name: web, annotations: {kube-ipvs.io/extra-ports: "%[1]d=80"}}
spec: {type: NodePort, ipFamilies: [IPv4], ports: [{port: 80, nodePort: 30080}]}
---
apiVersion: v1
kind: Service
metadata: {name: other}
spec: {type: NodePort, ipFamilies: [IPv4], ports: [{port: 80, nodePort: %[1]d}]}
---
apiVersion: v1
kind: Service
metadata: {name: balanced}
spec: {type: LoadBalancer, externalTrafficPolicy: Local, healthCheckNodePort: %[1]d, ipFamilies: [IPv4], ports: [{port: 80, nodePort: 30081}]}
`
	const because = ": the ports of SSH"
	for port, whose := range map[int]string{
		22: "SSH", 2379: "etcd", 2380: "etcd", 6443: "the API server", 10257: "the controller manager", 10259: "the scheduler",
		10248: "the kubelet", 10250: "the kubelet", 10255: "the kubelet", 10249: "kube-proxy", 10256: "kube-proxy", 10349: "the agent", 10356: "the agent",
		23: "", 443: "", 6444: "", 10251: "",
	} {
		stdout, stderr, _ := kubeIPVS(t, fmt.Sprintf(manifest, port), onOneAddress("plan", "--extra-port-range", "1-65535", "--service-node-port-range", "1-65535")...)
		opened, told := strings.Contains(stdout, fmt.Sprintf(" %d/tcp", port)), 0
		for _, text := range []string{"node port %d is not served", "annotation kube-ipvs.io/extra-ports: %d is not opened", "healthCheckNodePort %d is not answered"} {
			told += strings.Count(stderr, fmt.Sprintf(text, port)+because)
		}
		if protected := whose != ""; opened == protected || protected && told != 3 || !protected && told != 0 {
			t.Errorf("port %d, of %q: opened %v, told %d times\n%s%s", port, whose, opened, told, stdout, stderr)
		}
	}
}

func TestPlanShortensLongLists(t *testing.T) {
	var ranges []string
	for i := range 10_000 {
		ranges = append(ranges, fmt.Sprintf("10.%d.%d.1/32", i/256, i%256))
	}
	stdout, _ := planned(t, "kube-ipvs.io/source-ranges", strings.Join(ranges, ","))
	for _, want := range []string{
		"10.0.0.1/32,10.0.1.1/32,10.0.2.1/32,10.0.3.1/32,10.0.4.1/32,...", // as it is written
		"10.0.15.1/32 and 9984 more",                                      // as it is in force
	} {
		if !strings.Contains(stdout, want) {
			t.Errorf("%q is not in\n%.2000s", want, stdout)
		}
	}
	if len(stdout) > 2000 {
		t.Errorf("%d characters", len(stdout))
	}
}

// Two nodes that begin with the same real server would send all first clients to it.
func TestSeedsDifferByNode(t *testing.T) {
	seeds := map[uint64]string{}
	for i := range 1000 {
		name := fmt.Sprintf("node%d", i)
		if other, taken := seeds[seed(name)]; taken {
			t.Errorf("%s and %s have one seed", name, other)
		}
		seeds[seed(name)] = name
	}
}
