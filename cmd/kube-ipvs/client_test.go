package main

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kube-ipvs/kube-ipvs/report"
)

// An agent whose socket is taken runs on without it: that none runs is not to be said then.
func TestWhoHasTheNameAndTakesNoConnectionsIsNamed(t *testing.T) {
	socket := ownSocket(t)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: socket}); err != nil {
		t.Fatal(err)
	}
	if !someoneListens(t.Context(), socket) {
		t.Error("top would show the kernel's counters as those of a node without an agent")
	}
	err = askAgent(t.Context(), socket, "/status", new(report.Status))
	if err == nil || errors.Is(err, errNoAgent) {
		t.Fatalf("the error is %v", err)
	}
	for _, want := range []string{
		fmt.Sprintf("process %d (", os.Getpid()),
		fmt.Sprintf("user %d) has the name %s and takes no connections: if it is no agent, end it, and restart the agent", os.Geteuid(), socket),
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error is %v, want %q", err, want)
		}
	}
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
