package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/google/go-cmp/cmp"

	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
	"github.com/kube-ipvs/kube-ipvs/report"
)

// busyAgent answers for two Services. Between two of its answers its own clock goes on by two seconds.
func busyAgent(t *testing.T) (socket string) {
	t.Helper()
	var answers atomic.Uint64
	mux := http.NewServeMux()
	mux.HandleFunc("GET /traffic", func(w http.ResponseWriter, request *http.Request) {
		n := answers.Add(1)
		doc := report.Traffic{Time: time.Date(2026, 11, 22, 3, 0, int(2*n), 0, time.UTC), Node: "node1", Ports: []report.PortTraffic{
			{
				Namespace: "default", Service: "web", Port: "http", NodePort: 30080, Protocol: "TCP", Active: 7, Endpoints: 2, Draining: 1,
				Counters: report.Counters{Connections: 100 * n, InPackets: 1000 * n, OutPackets: 2000 * n, InBytes: 30_000 * n, OutBytes: 4_000_000 * n},
			},
			{Namespace: "kube-system", Service: "dns", Port: "dns", NodePort: 30053, Protocol: "UDP", Inactive: 3, Endpoints: 1},
		}}
		if request.FormValue("endpoints") == "default/web" {
			doc.Ports[0].List = []report.EndpointTraffic{
				{Address: "10.244.1.2:8080", Target: "Pod default/web-1", Node: "node1", Weight: 1, Counted: true, Active: 6, Counters: doc.Ports[0].Counters},
				{Address: "10.244.2.3:8080", Target: "Pod default/web-2", Node: "node2", Draining: true, Active: 1},
			}
		}
		_ = json.NewEncoder(w).Encode(doc)
	})
	socket = ownSocket(t)
	answering(t, socket, mux)
	return socket
}

func TestTopPrintsOnceWhereThereIsNoTerminal(t *testing.T) {
	for name, args := range map[string][]string{
		"plain":    nil,
		"once":     {"--once", "-n", "1"},
		"wide":     {"-o", "wide", "--sort", "name", "--endpoints", "default/web:http"},
		"json":     {"-o", "json", "--filter", "udp"},
		"yaml":     {"-o", "yaml", "--endpoints", "default/web", "--number", "1"},
		"misspelt": {"--endpoints", "default/wbe"},
		"help":     {"--help"},
		"argument": {"extra", "--once"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stdout, stderr, code := kubeIPVS(t, "", append([]string{"top", "--agent-socket", busyAgent(t)}, args...)...)
			got := fmt.Sprintf("$ %s\n--- stdout\n%s--- stderr\n%s--- exit code %d\n", strings.Join(append([]string{"kube-ipvs", "top"}, args...), " "), stdout, stderr, code)
			compareGolden(t, "testdata/top/"+name+".golden", got)
		})
	}
}

func TestTopSaysWhatIsWrongWithItsCommandLine(t *testing.T) {
	stdout, stderr, code := kubeIPVS(t, "", "top", "--interval", "1s", "--sort", "cpu", "-o", "xml", "-n", "-1")
	if code != 1 || stdout != "" {
		t.Errorf("exit code %d and output %q", code, stdout)
	}
	for _, want := range []string{
		"--interval: 1s is below 2s, in which the kernel counts nothing new", `--sort: unknown "cpu": write connections, active, bytes or name`,
		`-o "xml": write table, wide, json or yaml`, "--number: -1 is not a number of Service ports",
	} {
		if !strings.Contains(stderr, want) {
			t.Errorf("%q is not in\n%s", want, stderr)
		}
	}
}

func TestEndpointsMayBeAskedForByTheNameThatIsShown(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "default/web": "default/web", "default/web:http": "default/web", "default/web:dns/udp": "default/web",
		"10.1.0.10:30080": "10.1.0.10:30080", "10.1.0.10:30080/tcp": "10.1.0.10:30080", "[fd01::10]:30080/udp": "[fd01::10]:30080", "[FD01:0::10]:30080": "[fd01::10]:30080", "web": "web",
	} {
		if got := askedFor(text); got != want {
			t.Errorf("%q asks for %q, want %q", text, got, want)
		}
	}
}

// withoutAgent is top where no agent answers.
func withoutAgent(t *testing.T, kernel func(ipvs.Options) (ipvs.StatsReader, error)) *topOptions {
	t.Helper()
	return &topOptions{socket: ownSocket(t), kernel: kernel}
}

func TestTopWithoutAnAgentShowsWhatTheKernelHas(t *testing.T) {
	table, err := ipvs.ParseTable(`tcp://10.1.0.10:30080 rr
  10.244.1.2:8080 masq weight 1
  10.244.2.3:8080 masq weight 0
udp://10.1.0.9:30053 rr
`)
	if err != nil {
		t.Fatal(err)
	}
	kernel := ipvsfake.New(ipvsfake.WithTable(table))
	for key := range table {
		if key.Port == 30080 {
			kernel.Count(key, netip.MustParseAddrPort("10.244.1.2:8080"), ipvs.Counters{Connections: 1, InPackets: 2, OutPackets: 3, InBytes: 4, OutBytes: 5})
			kernel.SetConnections(key, netip.MustParseAddrPort("10.244.1.2:8080"), ipvs.Connections{Active: 6, Inactive: 7})
			kernel.SetConnections(key, netip.MustParseAddrPort("10.244.2.3:8080"), ipvs.Connections{Active: 8})
		}
	}
	o := withoutAgent(t, func(ipvs.Options) (ipvs.StatsReader, error) { return kernel.Stats(), nil })
	source, finish, err := o.from(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got, err := source(t.Context(), "10.1.0.10:30080")
	if err != nil {
		t.Fatal(err)
	}
	if got.Node == "" || time.Since(got.Time) > time.Minute {
		t.Errorf("node %q at %s", got.Node, got.Time)
	}
	got.Node, got.Time = "", time.Time{}
	counters := report.Counters{Connections: 1, InPackets: 2, OutPackets: 3, InBytes: 4, OutBytes: 5}
	want := report.Traffic{FromKernel: true, Ports: []report.PortTraffic{
		{Port: "10.1.0.9:30053", NodePort: 30053, Protocol: "UDP"},
		{
			Port: "10.1.0.10:30080", NodePort: 30080, Protocol: "TCP", Counters: counters, Active: 14, Inactive: 7, Endpoints: 2, Draining: 1,
			List: []report.EndpointTraffic{
				{Address: "10.244.1.2:8080", Weight: 1, Counted: true, Counters: counters, Active: 6, Inactive: 7},
				{Address: "10.244.2.3:8080", Draining: true, Counted: true, Active: 8},
			},
		},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if reads := kernel.StatReads(); reads != (ipvsfake.StatReads{Virtuals: 1, Reals: 1, Use: 1}) {
		t.Errorf("the kernel was read %+v", reads)
	}
	finish()
	if _, err := source(t.Context(), ""); err == nil {
		t.Error("the reader is not closed at the end")
	}
}

func TestTopNamesBothWaysWhenNoneAnswers(t *testing.T) {
	_, _, err := withoutAgent(t, func(ipvs.Options) (ipvs.StatsReader, error) { return nil, ipvs.ErrNoIPVS }).from(t.Context())
	if err == nil || !strings.Contains(err.Error(), "no agent answers in this network namespace, and the kernel cannot be asked instead: the kernel has no IPVS") {
		t.Errorf("got %v", err)
	}
}

// An agent that cannot answer is no reason to show a table without Services.
func TestTopDoesNotPassOverAnAgentThatFails(t *testing.T) {
	socket := ownSocket(t)
	answering(t, socket, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "the loop stands still", http.StatusServiceUnavailable)
	}))
	_, stderr, code := kubeIPVS(t, "", "top", "--once", "--agent-socket", socket)
	if code != 1 || !strings.Contains(stderr, "the loop stands still") {
		t.Errorf("exit code %d, error %q", code, stderr)
	}
}

func TestTopIsLiveOnATerminalOnly(t *testing.T) {
	for _, c := range []struct {
		name, term, noColor string
		args                []string
		live, color         bool
	}{
		{"a terminal", "xterm-256color", "", nil, true, true},
		{"without colour", "xterm-256color", "1", nil, true, false},
		{"a terminal that can do nothing", "dumb", "", nil, false, false},
		{"once", "xterm-256color", "", []string{"--once"}, false, false},
		{"as JSON", "xterm-256color", "", []string{"-o", "json"}, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("TERM", c.term)
			t.Setenv("NO_COLOR", c.noColor)
			shown, code := onATerminal(t, append([]string{"top", "--agent-socket", busyAgent(t)}, c.args...))
			live := strings.Contains(shown, "\x1b[?1049h")
			if live != c.live || code != 0 || !strings.Contains(shown, "kube-system") {
				t.Errorf("exit code %d; live: %v, shown:\n%q", code, live, shown)
			}
			if color := strings.Contains(shown, "36"); live && color != c.color {
				t.Errorf("in colour: %v, shown:\n%q", color, shown)
			}
			if live && !strings.Contains(shown, "\x1b[?1049l") {
				t.Errorf("the screen from before is not back: %q", shown)
			}
		})
	}
}

// onATerminal runs a command line on a pseudo terminal and presses q once a Service is seen.
func onATerminal(t *testing.T, args []string) (shown string, code int) {
	t.Helper()
	master, slave, err := pty.Open()
	if err == nil {
		err = pty.Setsize(master, &pty.Winsize{Cols: 80, Rows: 24})
	}
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	ended := make(chan int, 1)
	go func() {
		ended <- execute(ctx, args, slave, slave, slave)
		_ = slave.Close()
	}()
	var all bytes.Buffer
	buffer := make([]byte, 1<<16)
	for pressed := false; ; {
		n, err := master.Read(buffer)
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) { // EIO once the other end is closed
			break
		}
		all.Write(buffer[:n])
		if !pressed && bytes.Contains(all.Bytes(), []byte("dns:dns/udp")) {
			pressed = true
			_, _ = master.WriteString("q")
		}
	}
	return all.String(), <-ended
}
