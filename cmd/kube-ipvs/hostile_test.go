package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/klog/v2"

	"github.com/kube-ipvs/kube-ipvs/host"
	"github.com/kube-ipvs/kube-ipvs/sync"
)

// hostileTexts try each way into a log or a terminal: commands, a direction of writing, characters that are not seen, a line that
// looks like one of ours.
func hostileTexts() []string {
	return []string{
		"\x1b[2J", "\u009b2J", "a\u202eb", "a\u200bb", "a\rb", "\x7f", "\x00",
		"a\nI1122 12:00:00.000000       1 run.go:1] \"The agent ends\"\n", "a\n\x1b]0;title\x07\u202e", "a\r\nE1122 12:00:00.000000       1 run.go:1] \"forged\"", `{"msg": "forged"}` + "\n{}",
	}
}

func TestNothingThatIsLoggedForgesALineOrIsACommand(t *testing.T) {
	for _, format := range []string{logText, logJSON} {
		for _, text := range hostileTexts() {
			l, b := written(t, loggingOptions{format: format})
			id := sync.ServiceID{Namespace: text, Name: text}
			l.logger.WithValues("node", text).WithName("n").Info("One", "text", text, "service", id, "list", []string{text}, "problem", sync.Problem{Object: text, Message: text}, "map", map[string]string{text: text})
			l.logger.Error(errors.New(text), "Two", "error", errors.New(text))
			klog.Errorf("of client-go: %s", text)
			klog.ErrorS(errors.New(text), "of client-go", "text", text)
			wantPrintable(t, format, b.String())
			entries := 0
			for line := range strings.Lines(b.String()) {
				if format == logJSON {
					if !json.Valid([]byte(line)) {
						t.Errorf("%q: not an object: %q", text, line)
					}
					entries++
				} else if line[0] == 'I' || line[0] == 'E' || line[0] == 'W' || line[0] == 'F' {
					entries++
				}
			}
			if entries != 4 {
				t.Errorf("%s: %q makes %d entries of 4:\n%s", format, text, entries, b)
			}
		}
	}
}

// What manifests name is checked by no API server.
func TestNoCommandShowsWhatATerminalObeys(t *testing.T) {
	const bad = `\u001b[2J\u009b2J\u202e\u200b`
	manifests := filepath.Join(t.TempDir(), "all.yaml")
	objects := []string{
		`{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node1", "labels": {"topology.kubernetes.io/zone": "B"}}, "spec": {"podCIDRs": ["B"], "taints": [{"key": "B"}]}, "status": {"addresses": [{"type": "InternalIP", "address": "10.1.0.10"}, {"type": "InternalIP", "address": "B"}]}}`,
		`{"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "nB", "name": "webB", "annotations": {"kube-ipvs.io/scheduler": "B", "kube-ipvs.io/source-ranges": "10.0.0.0/8", "kube-ipvs.io/B": "B", "kube-ipvs.io/networks": "B"}}, "spec": {"type": "NodePort", "ports": [{"name": "pB", "port": 80, "nodePort": 30080}]}}`,
		`{"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "nB", "name": "servedB", "annotations": {"kube-ipvs.io/source-ranges": "10.0.0.0/8"}}, "spec": {"type": "NodePort", "sessionAffinity": "B", "externalTrafficPolicy": "B", "ports": [{"name": "pB", "port": 80, "nodePort": 30081}, {"name": "x", "protocol": "B", "port": 81, "nodePort": 30082}]}}`,
		`{"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"namespace": "nB", "name": "sB", "labels": {"kubernetes.io/service-name": "servedB"}}, "addressType": "IPv4", "ports": [{"name": "pB", "port": 8080}], "endpoints": [{"addresses": ["10.244.1.1"], "nodeName": "B", "zone": "B", "targetRef": {"kind": "B", "name": "B"}}, {"addresses": ["B"]}]}`,
		`{"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"namespace": "nB", "name": "tB", "labels": {"kubernetes.io/service-name": "servedB"}}, "addressType": "B"}`,
		`{"apiVersion": "v1B", "kind": "Service", "metadata": {"name": "B"}}`,
	}
	if err := os.WriteFile(manifests, []byte(strings.ReplaceAll(strings.Join(objects, "\n"), "B", bad)), 0o600); err != nil {
		t.Fatal(err)
	}
	name := strings.NewReplacer(`\u001b`, "\x1b", `\u009b`, "\u009b", `\u202e`, "\u202e", `\u200b`, "\u200b").Replace(bad)
	for _, command := range [][]string{
		{"plan"},
		{"plan", "-o", "ipvsadm"},
		{"status"},
		{"ports"},
		{"explain", "service", "n" + name + "/served" + name},
		{"explain", "service", "n" + name + "/web" + name},
		{"explain", "service", "n" + name + "/nobody" + name},
		{"explain", "address", "10.1.0.10:30081"},
	} {
		formats := []string{"table", "wide", "json", "yaml"}
		if command[0] == "plan" && len(command) > 1 {
			formats = []string{"ipvsadm"}
		}
		for _, format := range formats {
			args := append(append([]string{}, command...), "--manifests", manifests, "--node-name", "node1", "-o", format)
			stdout, stderr, _ := kubeIPVS(t, "", args...)
			if stdout+stderr == "" {
				t.Errorf("%v %s shows nothing", command, format)
			}
			wantPrintable(t, strings.Join(command, " ")+" "+format, stdout)
			wantPrintable(t, strings.Join(command, " ")+" "+format+", errors", stderr)
		}
	}
}

// Programs of the node choose their own names.
func TestCheckShowsNothingThatATerminalObeys(t *testing.T) {
	for _, text := range hostileTexts() {
		var b strings.Builder
		printItems(&b, []host.Item{{Status: host.Warn, Name: text, Detail: text, Mend: text}})
		wantPrintable(t, "check", b.String())
	}
}

// Interfaces and chains of others may be called anything that can be seen.
func TestItemsOfCheckStandBelowEachOther(t *testing.T) {
	show := func(name string) string {
		var b strings.Builder
		printItems(&b, []host.Item{{Status: host.Warn, Name: name, Detail: "detail", Mend: "mend"}, {Status: host.OK, Name: "kernel", Detail: "6.1"}})
		return strings.ReplaceAll(b.String(), name, "zzzzzz")
	}
	for _, name := range []string{"日本語", "e\u0301e\u0301zzzz", "Ｆzzzz"} {
		if got, want := show(name), show("zzzzzz"); got != want {
			t.Errorf("with %q check prints\n%s\nwant\n%s", name, got, want)
		}
	}
}
