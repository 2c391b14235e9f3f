package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
	"github.com/kube-ipvs/kube-ipvs/report"
)

// FuzzConfig takes any file for --config: an error names the file, and what passes is in range.
func FuzzConfig(f *testing.F) {
	for _, seed := range []string{
		"ipvs-scheduler: mh\n", "nodeport-addresses: [10.0.0.0/8, \"iface:e*\"]\n", "network: [\"a=all\", b=iface:x]\n", "v: 1e999\n", "drain-timeout: -1s\n",
		"traffic-metrics-limit: 0\n", "ipvs-tcp-timeout: 1ms\n", "---\na: b\n---\nc: d\n", "cluster-cidr: ::ffff:10.0.0.0/104\n", "a: &a [*a]\n", "pod-interface-name-prefix: \"a\\\"; drop\"\n",
		"detect-local-mode: InterfaceNamePrefix\npod-interface-name-prefix: cali\n", "service-node-port-range: 0-65535\n", "vmodule: x\n", "healthz-bind-address: x:99999\n", "? {}\n: x",
	} {
		f.Add(seed)
	}
	path := filepath.Join(f.TempDir(), "config.yaml")
	f.Fuzz(func(t *testing.T, text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		o := &options{}
		flags := pflag.NewFlagSet("run", pflag.ContinueOnError)
		for _, g := range runGroups(o) {
			flags.AddFlagSet(g.flags)
		}
		if err := loadConfig(path, flags); err != nil {
			if !strings.Contains(err.Error(), path) {
				t.Errorf("an error that names no file: %v", err)
			}
			return
		}
		if err := o.validate(); err != nil {
			if !strings.Contains(err.Error(), "-") {
				t.Errorf("an error that names no flag: %v", err)
			}
			return
		}
		checkOptions(t, o)
	})
}

// checkOptions: the kernel, and the nftables program, take what validate lets through.
func checkOptions(t *testing.T, o *options) {
	t.Helper()
	if o.timeouts.TCP < 0 || o.timeouts.TCPFin < 0 || o.timeouts.UDP < 0 || o.drainTimeout < 0 || o.minSync > o.syncPeriod || o.trafficMetricsLimit < 1 {
		t.Errorf("options %+v", o)
	}
	if o.nodePorts.First > o.nodePorts.Last {
		t.Errorf("node ports %s", o.nodePorts)
	}
	if err := o.filterOptions().Validate(); err != nil {
		t.Errorf("nftables would refuse it: %v", err)
	}
	for _, p := range o.podNetworks {
		if !p.IsValid() || p.Addr().Is4In6() {
			t.Errorf("pods have the network %v", p)
		}
	}
	if level := o.logging.verbosity; level < 0 || level > maxLevel {
		t.Errorf("log level %d", level)
	}
}

// FuzzSelections takes what explain takes, on the command line and over the socket.
func FuzzSelections(f *testing.F) {
	for _, seed := range []string{"shop/web", "web", "/", "a//b", "10.1.0.10:30080", "[fd01::10]:30053/udp", "[fe80::1%eth0]:1/tcp", "[::ffff:1.2.3.4]:1", "1.2.3.4:0", "1.2.3.4:80/", "a/\x00\u202e"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if id, err := parseService(text); err == nil && (id.Namespace == "" || id.Name == "" || strings.Contains(id.Name, "/") || strings.Contains(id.Namespace, "/")) {
			t.Errorf("%q is read as %+v", text, id)
		} else if again, againErr := parseService(id.String()); err == nil && (againErr != nil || again != id) {
			t.Errorf("%q is read as %+v, and that as %+v, %v", text, id, again, againErr)
		}
		at, protocols, err := parseAddressPort(text)
		if err != nil {
			return
		}
		if !at.IsValid() || at.Port() == 0 || at.Addr().Zone() != "" || at.Addr().Is4In6() || len(protocols) > 1 {
			t.Errorf("%q is read as %v %v", text, at, protocols)
		}
		again := at.String()
		for _, p := range protocols {
			again += "/" + p.String()
		}
		if same, with, err := parseAddressPort(again); same != at || !slices.Equal(with, protocols) || err != nil {
			t.Errorf("%q is read as %s, and that as %v, %v, %v", text, again, same, with, err)
		}
	})
}

// FuzzSocket asks the agent anything: it answers in one of its ways, with JSON or with text that nobody takes for a page.
func FuzzSocket(f *testing.F) {
	for _, path := range []string{"/ports?suggest=-1", "/ports?suggest=99999999999", "/status", "/services", "/explain/service/default/web", "/explain/service/%00/..%2f", "/explain/address?address=10.1.0.10:30000", "/traffic?endpoints=x/", "/log-level", "/diff", "/../etc", "//"} {
		f.Add(http.MethodGet, path, "")
	}
	for _, body := range []string{`{"level": 4}`, `{"level": -1}`, `{"level": 1e9}`, `{"level": null}`, `{"level": 1}{`, `[]`, "\x00", `{"level": "4"}`} {
		f.Add(http.MethodPut, levelPath, body)
	}
	f.Add("\x00", "/status", "")
	logs, err := newLogging(io.Discard, loggingOptions{format: logText})
	if err != nil {
		f.Fatal(err)
	}
	i := asNode1()
	i.openKernel = func() (ipvs.Handle, error) { return ipvsfake.New(), nil }
	i.openTable = func() (ruleReader, error) { return &rules{}, nil }
	handler := socketHandler(i)
	handler.Handle(levelPath, levelHandler(logs))
	f.Fuzz(func(t *testing.T, method, target, body string) {
		u, err := url.ParseRequestURI(target)
		if err != nil || u.Host != "" {
			return
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, &http.Request{Method: method, URL: u, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)), RequestURI: target})
		switch kind := w.Header().Get("Content-Type"); {
		case w.Code == http.StatusOK && (kind != "application/json" || !json.Valid(w.Body.Bytes())):
			t.Errorf("%s %q is answered with %s %q", method, target, kind, w.Body)
		case w.Code >= 400 && w.Body.Len() > 0 && (!strings.HasPrefix(kind, "text/plain") || w.Header().Get("X-Content-Type-Options") != "nosniff"):
			t.Errorf("%s %q is refused with %s %q", method, target, kind, w.Body)
		}
		if level := logs.Level(); level < 0 || level > maxLevel {
			t.Errorf("%q set the log level %d", body, level)
		}
		if w.Body.Len() > 1<<20+64*len(target) {
			t.Errorf("%q is answered with %d bytes", target, w.Body.Len())
		}
	})
}

// FuzzAnswers takes any answer of an agent, another version's or broken: it is shown, or refused.
func FuzzAnswers(f *testing.F) {
	f.Add([]byte(`{"node": "n", "services": [{"ports": [{"endpoints": -1}]}]}`))
	f.Add([]byte(`{"node": null, "services": [null], "problems": [{}]}`))
	f.Add([]byte(`{"services": [{"name": "\u001b[2J\u202e\u009b", "ports": null}]}`))
	f.Fuzz(func(t *testing.T, answer []byte) {
		for _, document := range []report.Tabler{&report.Status{}, &report.Explanation{}, &report.AddressExplanation{}, &report.Ports{}, &report.Difference{}} {
			if json.Unmarshal(answer, document) != nil {
				continue
			}
			for _, format := range report.Formats() {
				var b strings.Builder
				if err := report.Write(&b, format, document); err != nil {
					continue
				}
				wantPrintable(t, string(format), b.String())
			}
		}
	})
}

// FuzzBindAddress: a port that the agent listens on is one that no Service gets.
func FuzzBindAddress(f *testing.F) {
	for _, seed := range []string{"0.0.0.0:10256", "[::]:1", ":1", "x", "a:b", "1.2.3.4:65536", "[fe80::1%eth0]:80", "\x00:1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if checkBindAddress(text) != nil || text == "" {
			return
		}
		o := &options{healthz: text}
		if ports := o.ownPorts(); len(ports) != 1 && !strings.HasSuffix(text, ":0") {
			t.Errorf("%q is let through, and its ports are %d", text, ports)
		}
		if at, err := netip.ParseAddrPort(text); err == nil && at.Port() != 0 && !slices.Contains(o.ownPorts(), at.Port()) {
			t.Errorf("%q is not a port of the agent: %d", text, o.ownPorts())
		}
	})
}

// wantPrintable: nothing in text is a command to a terminal, or hides from who reads it.
func wantPrintable(t *testing.T, name, text string) {
	t.Helper()
	if i := strings.IndexFunc(text, func(r rune) bool { return r != '\n' && r != '\t' && !strconv.IsPrint(r) }); i >= 0 {
		t.Errorf("%s: %q", name, text[max(0, i-20):min(len(text), i+20)])
	}
}
