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
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/kube-ipvs/kube-ipvs/allocator"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/host"
	"github.com/kube-ipvs/kube-ipvs/nodeaddr"
	"github.com/kube-ipvs/kube-ipvs/report"
	"github.com/kube-ipvs/kube-ipvs/sync"
)

// ownSocket is the name of a socket that no other test has.
func ownSocket(t *testing.T) string {
	t.Helper()
	return fmt.Sprintf("@kube-ipvs/test/%d/%s", os.Getpid(), t.Name())
}

// answering runs the socket of an agent until the test ends.
func answering(t *testing.T, socket string, handler http.Handler) {
	t.Helper()
	l, err := listenLocally(t.Context(), socket, handler)
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

// asNode1 answers for a node of that name, from the same state.
func asNode1() *inspector {
	return &inspector{node: "node1", source: "a test", overview: func(context.Context) (*sync.Overview, error) {
		return sync.NewOverview(state(), nil, nil), nil
	}}
}

func TestPortsAsksTheAgentWhereNoSourceIsGiven(t *testing.T) {
	socket := ownSocket(t)
	answering(t, socket, socketHandler(asNode1()))
	want := `Node node1
  static  band 30000-30085: 1 of 86 ports taken (1.1 %)
  dynamic band 30086-32767: 0 of 2682 ports taken (0.0 %)

PORT        KIND        BAND     SERVICE       ADDRESSES   ALSO THERE
30000/tcp   node port   static   default/web   10.1.0.10   nginx (process 7) listens there
`
	stdout, stderr, code := kubeIPVS(t, "", "ports", "--agent-socket", socket)
	if diff := cmp.Diff(want, stdout); diff != "" || stderr != "" || code != 2 {
		t.Errorf("exit code %d, error %q (-want +got):\n%s", code, stderr, diff)
	}
	stdout, stderr, code = kubeIPVS(t, "", "ports", "--agent-socket", socket, "--suggest", "2")
	if stdout != "30001\n30002\n" || stderr != "" || code != 0 {
		t.Errorf("--suggest: exit code %d, %q, error %q", code, stdout, stderr)
	}
}

func TestTheAgentsSocketIsForRootAndItsOwnUserAlone(t *testing.T) {
	if os.Geteuid() != 0 {
		socket := ownSocket(t)
		answering(t, socket, socketHandler(asNode1()))
		if err := askAgent(t.Context(), socket, "/ports", new(report.Ports)); err != nil {
			t.Errorf("its own user: %v", err)
		}
		return // nobody else can be played
	}
	socket := ownSocket(t)
	answering(t, socket, socketHandler(asNode1()))
	for uid, want := range map[uint32]bool{0: true, 65534: false} {
		if got := heard(t, socket, uid); got != want {
			t.Errorf("user %d is answered: %v, want %v", uid, got, want)
		}
	}
}

// heard reports whether a user is answered. The user is that of one thread, which ends with it.
func heard(t *testing.T, socket string, uid uint32) bool {
	t.Helper()
	answered := make(chan bool)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread is of no use to others any more
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)); errno != 0 {
			t.Errorf("become user %d: %v", uid, errno)
		}
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		if err != nil {
			t.Error(err)
		}
		defer unix.Close(fd)
		if err := unix.Connect(fd, &unix.SockaddrUnix{Name: socket}); err != nil {
			t.Error(err)
		}
		_, _ = unix.Write(fd, []byte("GET /ports HTTP/1.0\r\n\r\n"))
		n, _ := unix.Read(fd, make([]byte, 16))
		answered <- n > 0
	}()
	return <-answered
}

func TestWithoutAnAgentPortsSaysWhatDoesWithoutOne(t *testing.T) {
	stdout, stderr, code := kubeIPVS(t, "", "ports", "--agent-socket", ownSocket(t))
	want := "no agent answers in this network namespace: is one running on this node? --kubeconfig and --manifests do without one"
	if code != 1 || stdout != "" || !strings.Contains(stderr, want) {
		t.Errorf("exit code %d, output %q, error\n%s\nwant\n%s", code, stdout, stderr, want)
	}
}

func TestWhatTheAgentCannotAnswerIsToldAsItSaysIt(t *testing.T) {
	socket := ownSocket(t)
	i := &inspector{overview: func(context.Context) (*sync.Overview, error) { return nil, errors.New("it has not read anything yet") }}
	answering(t, socket, socketHandler(i))
	_, stderr, code := kubeIPVS(t, "", "ports", "--agent-socket", socket)
	if want := "503 Service Unavailable: it has not read anything yet"; code != 1 || !strings.Contains(stderr, want) {
		t.Errorf("exit code %d, %q, want %q", code, stderr, want)
	}
	var answer report.Ports
	if err := askAgent(t.Context(), socket, "/nothing", &answer); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("what it does not know: %v", err)
	}
}

func TestAnAgentWhoseSocketIsTakenServesAllTheSame(t *testing.T) {
	taken, err := listenLocally(t.Context(), socketName, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer taken.close()
	o := &options{healthz: "127.0.0.1:0"}
	var told strings.Builder
	log := funcr.New(func(_, args string) { told.WriteString(args) }, funcr.Options{})
	around := surroundings{logs: &logging{logger: log}, flags: pflag.NewFlagSet("", pflag.ContinueOnError)}
	endpoints, err := o.endpoints(t.Context(), around, asNode1(), sync.New(logr.Discard(), sync.Config{}))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range endpoints {
		e.close()
	}
	for _, want := range []string{"its socket cannot be made", fmt.Sprintf("process %d (", os.Getpid())} {
		if !strings.Contains(told.String(), want) {
			t.Errorf("the log says %q, not %q", told.String(), want)
		}
	}
}

func TestAQuestionEndsWithItsContext(t *testing.T) {
	socket := ownSocket(t)
	answering(t, socket, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := askAgent(ctx, socket, "/ports", new(report.Ports))
	if want := "try again"; !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v does not say %q", err, want)
	}
}

// An agent whose API server cannot be reached after a start knows no Services, and knows that.
func TestALoopThatDoesNotAnswerIsToldWithTheReason(t *testing.T) {
	for reason, want := range map[string]string{
		"waiting for Services": "the agent is not ready: waiting for Services", "": "the agent is in the middle of a pass, ask again",
	} {
		synctest.Test(t, func(t *testing.T) {
			i := &inspector{
				overview: func(ctx context.Context) (*sync.Overview, error) { <-ctx.Done(); return nil, ctx.Err() },
				health:   func(time.Time) sync.Health { return sync.Health{Reason: reason} },
			}
			for _, path := range []string{"/status", "/ports", "/services", "/explain/service/a/b", "/explain/address?address=10.1.0.10:1"} {
				begin := time.Now()
				r := get(t, socketHandler(i), path)
				if took := time.Since(begin); r.Code != http.StatusServiceUnavailable || !strings.Contains(r.Body.String(), want) || took >= askTimeout {
					t.Errorf("%s is answered %d %q after %s, want %q", path, r.Code, r.Body, took, want)
				}
			}
		})
	}
}

func TestOddQuestionsGetAnAnswer(t *testing.T) {
	h := socketHandler(asNode1())
	for path, want := range map[string]int{"/ports": 0, "/ports?suggest=x": 0, "/ports?suggest=-1": 0, "/ports?suggest=2": 2, "/ports?suggest=99999999": 85} {
		if r := get(t, h, path); r.Code != 200 || suggested(t, r.Body.Bytes()) != want {
			t.Errorf("%s: %d %s, want %d suggestions", path, r.Code, r.Body, want)
		}
	}
}

func suggested(t *testing.T, body []byte) int {
	t.Helper()
	var answer report.Ports
	if err := json.Unmarshal(body, &answer); err != nil {
		t.Fatal(err)
	}
	return len(answer.Suggest)
}

// The name of an abstract socket is anybody's who comes first: what somebody else answers there is not the agent's.
func TestNobodyElseAnswersForTheAgent(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Log("run as root, it is shown for another user too")
	}
	self := fmt.Sprintf("is held by process %d (", os.Getpid())
	for uid, want := range map[uint32]string{uint32(os.Geteuid()): "", 65534: "user 65534), who is neither root nor you"} {
		if uid == 65534 && os.Geteuid() != 0 {
			continue
		}
		t.Run(fmt.Sprint(uid), func(t *testing.T) {
			socket := ownSocket(t)
			pretend(t, socket, uid)
			err := askAgent(t.Context(), socket, "/status", new(report.Status))
			if want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			for _, want := range []string{self, want, "End it, and restart the agent"} {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("error %v, want %q", err, want)
				}
			}
		})
	}
}

// pretend answers as another user: who listens is whoever a thread was when it began to.
func pretend(t *testing.T, socket string, uid uint32) {
	t.Helper()
	listening := make(chan int)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread is of no use to others any more
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)); errno != 0 {
			t.Errorf("become user %d: %v", uid, errno)
		}
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		if err = errors.Join(err, unix.Bind(fd, &unix.SockaddrUnix{Name: socket}), unix.Listen(fd, 1)); err != nil {
			t.Error(err)
		}
		listening <- fd
	}()
	file := os.NewFile(uintptr(<-listening), socket)
	l, err := net.FileListener(file)
	if err != nil {
		t.Fatal(err)
	}
	_ = file.Close()
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("{}")) })}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
}
