package main

import (
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kube-ipvs/kube-ipvs/report"
)

func TestRootAndOneselfAreTrustedAndNobodyElse(t *testing.T) {
	self := uint32(os.Geteuid())
	for uid, want := range map[uint32]bool{0: true, self: true, self + 1: false, 65534: self == 65534} {
		if got := trusted(uid); got != want {
			t.Errorf("user %d is trusted: %v, want %v", uid, got, want)
		}
	}
}

// The name of an abstract socket is anybody's: who takes it first must not make up answers for root. Only root can play
// somebody else, so that as another user this looks at what is said of nobody's socket alone.
func TestAnImposterIsNotAsked(t *testing.T) {
	socket := ownSocket(t)
	if os.Geteuid() == 0 {
		listener := listeningAs(t, socket, 65534)
		go func() {
			_ = http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("{}")) }))
		}()
	}
	err := askAgent(t.Context(), socket, "/status", new(report.Status))
	want := "is held by user 65534, who is neither root nor you"
	if os.Geteuid() != 0 {
		want = errNoAgent.Error()
	}
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("the error is %v, want %q", err, want)
	}
}

// listeningAs is a socket that another user has. It is one thread that becomes that user, and it ends.
func listeningAs(t *testing.T, socket string, uid int) net.Listener {
	t.Helper()
	fds := make(chan int)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread is of no use to others any more
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)); errno != 0 {
			t.Errorf("become user %d: %v", uid, errno)
		}
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		if err == nil {
			err = unix.Bind(fd, &unix.SockaddrUnix{Name: socket})
		}
		if err == nil {
			err = unix.Listen(fd, 1)
		}
		if err != nil {
			t.Error(err)
		}
		fds <- fd
	}()
	file := os.NewFile(uintptr(<-fds), socket)
	defer file.Close()
	l, err := net.FileListener(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func TestErrorsOfTheAgentAreNoAnswers(t *testing.T) {
	for status, body := range map[int]string{http.StatusServiceUnavailable: "{}", http.StatusNotFound: "{}", http.StatusInternalServerError: "", http.StatusOK: "no document"} {
		socket := ownSocket(t) + http.StatusText(status)
		answering(t, socket, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}))
		if err := askAgent(t.Context(), socket, "/status", new(report.Status)); err == nil || !strings.HasPrefix(err.Error(), "ask the agent: ") {
			t.Errorf("%d %q is taken for an answer: %v", status, body, err)
		}
	}
}
