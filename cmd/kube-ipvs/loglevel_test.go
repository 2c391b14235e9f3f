package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/kube-ipvs/kube-ipvs/report"
)

func TestTheLogLevelOfARunningAgentIsShownAndSet(t *testing.T) {
	l, log := written(t, loggingOptions{format: logText, verbosity: 1})
	socket := ownSocket(t)
	answering(t, socket, levelHandler(l))
	for _, step := range []struct {
		args  []string
		want  string
		level int
	}{
		{nil, "1\n", 1},
		{[]string{"4"}, "4\n", 4},
		{[]string{"-o", "json"}, "{\n  \"level\": 4\n}\n", 4},
		{[]string{"0", "-o", "yaml"}, "level: 0\n", 0},
	} {
		stdout, stderr, code := kubeIPVS(t, "", append([]string{"log-level", "--agent-socket", socket}, step.args...)...)
		if stdout != step.want || stderr != "" || code != 0 || l.Level() != step.level {
			t.Errorf("%v: exit code %d, output %q, error %q, level %d, want %q and %d", step.args, code, stdout, stderr, l.Level(), step.want, step.level)
		}
	}
	for _, want := range []string{`"The log level changed" from=1 to=4`, `"The log level changed" from=4 to=0`} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("%s is not in the log:\n%s", want, log)
		}
	}
}

func TestLogLevelSaysWhatIsWrongWithItsCommandLine(t *testing.T) {
	for want, args := range map[string][]string{
		`"high" is no log level: write a number from 0 to 100`: {"high"},
		`"101" is no log level`:                                {"101"},
		"unknown shorthand flag: '1' in -1":                    {"-1"},
		"at most 1 arg":                                        {"1", "2"},
		`-o "ipvsadm": write table, wide`:                      {"-o", "ipvsadm"},
		"no agent answers in this network na":                  {"4"},
		"no agent answers in this network":                     {},
	} {
		stdout, stderr, code := kubeIPVS(t, "", append([]string{"log-level", "--agent-socket", ownSocket(t)}, args...)...)
		if code != 1 || stdout != "" || !strings.Contains(stderr, want) {
			t.Errorf("%v: exit code %d, output %q, error %q, want %q", args, code, stdout, stderr, want)
		}
	}
}

func TestWhatIsNoLogLevelIsRefusedByTheAgent(t *testing.T) {
	l, _ := written(t, loggingOptions{format: logText, verbosity: 3})
	h := levelHandler(l)
	for body, want := range map[string]string{
		"":                  "read the log level: EOF",
		"4":                 "read the log level: json: cannot unmarshal number",
		"{}":                "there is no log level in it",
		`{"level": -1}`:     "log level -1 is not one of 0 to 100",
		`{"level": "many"}`: "cannot unmarshal string",
		strings.Repeat(" ", 2000) + `{"level": 4}`: "request body too large",
	} {
		r := httptest.NewRecorder()
		h.ServeHTTP(r, httptest.NewRequestWithContext(t.Context(), http.MethodPut, levelPath, strings.NewReader(body)))
		if r.Code != http.StatusBadRequest || !strings.Contains(r.Body.String(), want) || l.Level() != 3 {
			t.Errorf("%.20q: %d %s, level %d, want %q", body, r.Code, r.Body, l.Level(), want)
		}
	}
	r := httptest.NewRecorder()
	h.ServeHTTP(r, httptest.NewRequestWithContext(t.Context(), http.MethodPost, levelPath, strings.NewReader(`{"level": 4}`)))
	if r.Code != http.StatusMethodNotAllowed || l.Level() != 3 {
		t.Errorf("POST: %d, level %d", r.Code, l.Level())
	}
}

func TestWhatTheAgentRefusesIsToldAsItSaysIt(t *testing.T) {
	socket := ownSocket(t)
	answering(t, socket, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "not now", http.StatusTeapot) }))
	_, stderr, code := kubeIPVS(t, "", "log-level", "4", "--agent-socket", socket)
	if code != 1 || !strings.Contains(stderr, "418 I'm a teapot: not now") {
		t.Errorf("exit code %d, error %q", code, stderr)
	}
}

func TestACallOfTheAgentEndsWithItsContext(t *testing.T) {
	socket := ownSocket(t)
	answering(t, socket, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := callAgent(ctx, socket, http.MethodPut, levelPath, report.LogLevel{}, new(report.LogLevel)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
}
