package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kube-ipvs/kube-ipvs/allocator"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/host"
	"github.com/kube-ipvs/kube-ipvs/nodeaddr"
	"github.com/kube-ipvs/kube-ipvs/sync"
)

// shortDir is a directory whose path a socket may have: at most 107 bytes.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "k")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return filepath.Join(dir, "state")
}

// answering runs the socket of an agent until the test ends.
func answering(t *testing.T, dir string, handler http.Handler) {
	t.Helper()
	l, err := listenLocally(t.Context(), dir, handler)
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- l.serve(ctx) }()
	t.Cleanup(func() {
		end()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// state is that of a node on which a program listens on the only node port.
func state() *sync.State {
	s := sync.NewState(sync.Defaults{Scheduler: "rr", NodePortRange: allocator.Range{First: 30000, Last: 32767}})
	s.SetPlaces(nodeaddr.Places([]netip.Addr{netip.MustParseAddr("10.1.0.10")}, nil, nil, nil))
	s.Update(sync.Update{Services: []sync.Service{{
		ID: sync.ServiceID{Namespace: "default", Name: "web"}, Families: sync.IPv4,
		Ports: []sync.ServicePort{{NodePort: 30000, Protocol: frontend.TCP}},
	}}})
	s.SetListeners([]sync.Listener{{
		Listener: host.Listener{Addr: netip.IPv4Unspecified(), Port: 30000, Protocol: frontend.TCP}, Process: "nginx (process 7)",
	}})
	s.Resolve()
	return s
}

func askState(_ context.Context, f func(*sync.State)) error { f(state()); return nil }

func TestPortsAsksTheAgentWhereNoSourceIsGiven(t *testing.T) {
	dir := shortDir(t)
	answering(t, dir, socketHandler("node1", askState))
	want := `Node node1
  static  band 30000-30085: 1 of 86 ports taken (1.1 %)
  dynamic band 30086-32767: 0 of 2682 ports taken (0.0 %)

PORT        KIND        BAND     SERVICE       ADDRESSES   ALSO THERE
30000/tcp   node port   static   default/web   10.1.0.10   nginx (process 7) listens there
`
	stdout, stderr, code := kubeIPVS(t, "", "ports", "--state-dir", dir)
	if diff := cmp.Diff(want, stdout); diff != "" || stderr != "" || code != 2 {
		t.Errorf("exit code %d, error %q (-want +got):\n%s", code, stderr, diff)
	}
	stdout, stderr, code = kubeIPVS(t, "", "ports", "--state-dir", dir, "--suggest", "2")
	if stdout != "30001\n30002\n" || stderr != "" || code != 0 {
		t.Errorf("--suggest: exit code %d, %q, error %q", code, stdout, stderr)
	}
}

func TestTheAgentsSocketIsForRootAlone(t *testing.T) {
	dir := shortDir(t)
	answering(t, dir, socketHandler("node1", askState))
	info, err := os.Stat(filepath.Join(dir, "agent.sock"))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != os.ModeSocket|0o600 {
		t.Errorf("its mode is %v", info.Mode())
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("that of its directory is %v, %v", info.Mode(), err)
	}
}

func TestASocketThatAnAgentLeftIsReplaced(t *testing.T) {
	dir := shortDir(t)
	left, err := listenLocally(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	left.Listener.(*net.UnixListener).SetUnlinkOnClose(false)
	left.close()
	if _, err := os.Stat(filepath.Join(dir, socketName)); err != nil {
		t.Fatal("nothing was left: ", err)
	}
	answering(t, dir, socketHandler("node1", askState))
	if _, stderr, code := kubeIPVS(t, "", "ports", "--state-dir", dir); code != 2 {
		t.Errorf("exit code %d, %s", code, stderr)
	}
}

func TestWithoutAnAgentPortsSaysWhatDoesWithoutOne(t *testing.T) {
	none, left := shortDir(t), shortDir(t)
	l, err := listenLocally(t.Context(), left, nil)
	if err != nil {
		t.Fatal(err)
	}
	l.Listener.(*net.UnixListener).SetUnlinkOnClose(false)
	l.close()
	for name, dir := range map[string]string{"there was none": none, "it crashed": left} {
		stdout, stderr, code := kubeIPVS(t, "", "ports", "--state-dir", dir)
		want := fmt.Sprintf("no agent answers at %s/agent.sock: is one running on this node, with this --state-dir? --kubeconfig and --manifests do without one", dir)
		if code != 1 || stdout != "" || !strings.Contains(stderr, want) {
			t.Errorf("%s: exit code %d, output %q, error\n%s\nwant\n%s", name, code, stdout, stderr, want)
		}
	}
}

func TestWhatTheAgentCannotAnswerIsToldAsItSaysIt(t *testing.T) {
	dir := shortDir(t)
	handler := socketHandler("node1", func(context.Context, func(*sync.State)) error { return errors.New("it has not read anything yet") })
	answering(t, dir, handler)
	_, stderr, code := kubeIPVS(t, "", "ports", "--state-dir", dir)
	if want := "503 Service Unavailable: it has not read anything yet"; code != 1 || !strings.Contains(stderr, want) {
		t.Errorf("exit code %d, %q, want %q", code, stderr, want)
	}
	var answer portsJSON
	if err := askAgent(t.Context(), dir, "/nothing", &answer); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("what it does not know: %v", err)
	}
}

func TestAQuestionEndsWithItsContext(t *testing.T) {
	dir := shortDir(t)
	answering(t, dir, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := askAgent(ctx, dir, "/ports", new(portsJSON)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
}

func TestOddQuestionsGetAnAnswer(t *testing.T) {
	h := socketHandler("node1", askState)
	for path, want := range map[string]int{"/ports": 0, "/ports?suggest=x": 0, "/ports?suggest=-1": 0, "/ports?suggest=2": 2, "/ports?suggest=99999999": 85} {
		if r := get(t, h, path); r.Code != 200 || suggested(t, r.Body.Bytes()) != want {
			t.Errorf("%s: %d %s, want %d suggestions", path, r.Code, r.Body, want)
		}
	}
}

func suggested(t *testing.T, body []byte) int {
	t.Helper()
	var answer portsJSON
	if err := json.Unmarshal(body, &answer); err != nil {
		t.Fatal(err)
	}
	return len(answer.Suggest)
}
