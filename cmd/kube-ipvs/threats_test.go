package main

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

// victim is an honest Service, and the oldest.
const victim = `
apiVersion: v1
kind: Service
metadata: {namespace: shop, name: web, creationTimestamp: "2026-01-01T00:00:00Z"}
spec: {type: NodePort, ports: [{name: http, port: 80, nodePort: 30080}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {namespace: shop, name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [10.244.1.1]}]
---
`

// What an author writes beside it, and what a node then serves. The node has 10.1.0.10 and 10.9.0.10, and serves on the first. It lets
// authors open whatever is no node port.
func TestAnAuthorReachesNothingOfOthers(t *testing.T) {
	const honest = "-A -t 10.1.0.10:30080 -s rr\n-a -t 10.1.0.10:30080 -r 10.244.1.1:8080 -m -w 1\n"
	for _, c := range []struct{ name, manifests, more string }{
		{"slice in another namespace", `
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {namespace: evil, name: web-2, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [10.244.6.6]}]
`, ""},
		{"the same node port", `
apiVersion: v1
kind: Service
metadata: {namespace: evil, name: web, creationTimestamp: "2026-01-02T00:00:00Z"}
spec: {type: NodePort, ports: [{name: http, port: 80, nodePort: 30080}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {namespace: evil, name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [10.244.6.6]}]
`, ""},
		{"the node port as a health check", `
apiVersion: v1
kind: Service
metadata: {namespace: evil, name: web, creationTimestamp: "2026-01-02T00:00:00Z"}
spec: {type: LoadBalancer, externalTrafficPolicy: Local, healthCheckNodePort: 30080, ports: [{port: 80, nodePort: 30081}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {namespace: evil, name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: "", port: 8080}]
endpoints: [{addresses: [10.244.6.6], nodeName: node1}]
`, "-A -t 10.1.0.10:30081 -s rr\n-a -t 10.1.0.10:30081 -r 10.244.6.6:8080 -m -w 1\n"},
		// CVE-2020-8554: addresses that the author chooses, the node's and others'.
		{"addresses of other hosts", `
apiVersion: v1
kind: Service
metadata: {namespace: evil, name: web}
spec: {type: LoadBalancer, externalIPs: [10.1.0.10, 10.9.0.10, 8.8.8.8], loadBalancerIP: 10.9.0.10, allocateLoadBalancerNodePorts: false, ports: [{port: 22}, {port: 53, protocol: UDP}]}
status: {loadBalancer: {ingress: [{ip: 10.1.0.10}, {ip: 10.9.0.10}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {namespace: evil, name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: "", port: 8080}]
endpoints: [{addresses: [10.244.6.6]}]
`, ""},
		{"annotations on the API server's own port and SSH", `
apiVersion: v1
kind: Service
metadata: {namespace: evil, name: web, annotations: {kube-ipvs.io/extra-ports: "22=80,2222=80,6443=80,10250=80,10349=80,30080=80", kube-ipvs.io/networks: all, kube-ipvs.io/scheduler: "../../evil"}}
spec: {type: NodePort, ports: [{port: 80, nodePort: 30081}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {namespace: evil, name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: "", port: 8080}]
endpoints: [{addresses: [10.244.6.6]}]
`, "-A -t 10.1.0.10:2222 -s rr\n-a -t 10.1.0.10:2222 -r 10.244.6.6:8080 -m -w 1\n" +
			"-A -t 10.1.0.10:30081 -s rr\n-a -t 10.1.0.10:30081 -r 10.244.6.6:8080 -m -w 1\n"},
		{"a list of clients that is a command", `
apiVersion: v1
kind: Service
metadata: {namespace: evil, name: web, annotations: {kube-ipvs.io/source-ranges: "10.0.0.0/8 } ; flush ruleset ; add table x {"}}
spec: {type: NodePort, ports: [{port: 80, nodePort: 30081}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {namespace: evil, name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: "", port: 8080}]
endpoints: [{addresses: [10.244.6.6]}]
`, ""},
	} {
		t.Run(c.name, func(t *testing.T) { serves(t, victim+strings.TrimPrefix(c.manifests, "\n"), honest+c.more) })
	}
}

// Slices that are written by hand lead anywhere but where the API server's own validation does not let them lead: to programs that trust
// loopback, and to the metadata services of clouds on 169.254.169.254. The node's other addresses are those of Pods with hostNetwork.
func TestNoSliceLeadsToLoopbackOrToTheMetadataOfACloud(t *testing.T) {
	slice := strings.ReplaceAll(victim, "{addresses: [10.244.1.1]}", `{addresses: [127.0.0.1]}, {addresses: [127.8.8.8]}, {addresses: [169.254.169.254]},
  {addresses: ["::ffff:127.0.0.1"]}, {addresses: ["::ffff:169.254.169.254"]}, {addresses: ["0.0.0.0"]}, {addresses: ["0177.0.0.1"]}, {addresses: ["127.1"]},
  {addresses: ["2130706433"]}, {addresses: ["224.0.0.1"]}, {addresses: ["localhost"]}, {addresses: ["10.1.0.10"]}`)
	serves(t, slice, "-A -t 10.1.0.10:30080 -s rr\n-a -t 10.1.0.10:30080 -r 10.1.0.10:8080 -m -w 1\n")
	six := strings.NewReplacer("addressType: IPv4", "addressType: IPv6", "{addresses: [10.244.1.1]}",
		`{addresses: ["::1"]}, {addresses: ["fe80::a9fe:a9fe"]}, {addresses: ["::"]}, {addresses: ["fe80::1%eth0"]}, {addresses: ["::ffff:127.0.0.1"]}, {addresses: ["ff02::1"]}, {addresses: ["fd44::1"]}`).Replace(victim)
	serves(t, six, "-A -t [fd01::10]:30080 -s rr\n-a -t [fd01::10]:30080 -r [fd44::1]:8080 -m -w 1\n")
}

// What the node has to be kept from is for its own firewall: addresses outside of the cluster are upstreams as with every proxy.
func TestASliceLeadsOutOfTheClusterAsWithEveryProxy(t *testing.T) {
	slice := strings.ReplaceAll(victim, "{addresses: [10.244.1.1]}", "{addresses: [100.100.100.200]}, {addresses: [192.168.7.7]}")
	serves(t, slice, "-A -t 10.1.0.10:30080 -s rr\n-a -t 10.1.0.10:30080 -r 100.100.100.200:8080 -m -w 1\n"+
		"-a -t 10.1.0.10:30080 -r 192.168.7.7:8080 -m -w 1\n")
	six := strings.NewReplacer("addressType: IPv4", "addressType: IPv6", "{addresses: [10.244.1.1]}", `{addresses: ["fd00:ec2::254"]}`).Replace(victim)
	serves(t, six, "-A -t [fd01::10]:30080 -s rr\n-a -t [fd01::10]:30080 -r [fd00:ec2::254]:8080 -m -w 1\n")
}

// serves requires that a node serves this of manifests, and nothing else.
func serves(t *testing.T, manifests, want string) {
	t.Helper()
	out, stderr, code := kubeIPVS(t, manifests, "plan", "--manifests", "-", "--node-name", "node1", "-o", "ipvsadm",
		"--node-addresses", "eth0=10.1.0.10/24,eth0=fd01::10/64,eth1=10.9.0.10/24", "--nodeport-addresses", "10.1.0.0/24,fd01::/64",
		"--extra-port-range", "1-29999")
	if code == 1 {
		t.Fatalf("plan: %s", stderr)
	}
	wanted, err := ipvs.ParseSave(strings.NewReader(want))
	if err != nil {
		t.Fatal(err)
	}
	got, err := ipvs.ParseSave(strings.NewReader(out))
	if err != nil {
		t.Fatal(err)
	}
	for key, entry := range got {
		if len(entry.Reals) == 0 { // who asks there is refused
			delete(got, key)
		}
	}
	if diff := cmp.Diff(wanted.String(), got.String()); diff != "" {
		t.Errorf("it serves (-want +got):\n%s%s", diff, stderr)
	}
}

// The threat model names a test for each of its lines, or admits that there is none. TestTestsThatTheDocsNameExist looks for them.
func TestEveryLineOfTheThreatModelIsShownOrSaysThatItIsNot(t *testing.T) {
	text, err := os.ReadFile("../../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	name := regexp.MustCompile("`Test[A-Z]\\w*`")
	lines, shown := 0, false // within a table whose last column is "shown by"
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		switch {
		case !strings.HasPrefix(line, "|"):
			shown = false
		case strings.HasSuffix(line, "| shown by |"):
			shown = true
		case shown && !strings.HasPrefix(line, "|---"):
			lines++
			cells := strings.Split(strings.Trim(line, "|"), "|")
			if last := cells[len(cells)-1]; !name.MatchString(last) && !strings.Contains(last, "not shown") {
				t.Errorf("no test and no admission: %s", line)
			}
		}
	}
	if lines < 40 {
		t.Errorf("%d lines of tables are looked at", lines)
	}
}
