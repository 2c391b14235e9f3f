package main

import (
	"net/http"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// debugged are the handlers of an agent with a command line.
func debugged(t *testing.T, profiling bool, args ...string) http.Handler {
	t.Helper()
	cmd := newRun()
	if err := cmd.ParseFlags(args); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	debugHandlers(mux, cmd.Flags(), profiling)
	return mux
}

func TestFlagzHasEveryFlagInForceOnce(t *testing.T) {
	r := get(t, debugged(t, false, "--ipvs-scheduler=mh", "--network=a=10.0.0.0/8", "--network=b=iface:eth1", "-v=3"), "/flagz")
	if r.Code != http.StatusOK || !strings.HasPrefix(r.Header().Get("Content-Type"), "text/plain") {
		t.Errorf("status %d, %s", r.Code, r.Header().Get("Content-Type"))
	}
	body := r.Body.String()
	for _, want := range []string{"\nkube-ipvs flags\n", "\nipvs-scheduler=mh\n", "\nipvs-sync-period=30s\n", "\nnetwork=[a=10.0.0.0/8,b=iface:eth1]\n", "\nv=3\n"} {
		if !strings.Contains(body, want) {
			t.Errorf("%q is not in\n%s", want, body)
		}
	}
	newRun().Flags().VisitAll(func(f *pflag.Flag) {
		if strings.Count(body, "\n"+f.Name+"=") != 1 {
			t.Errorf("--%s is there %d times", f.Name, strings.Count(body, "\n"+f.Name+"="))
		}
	})
}

func TestProfilesAreServedOnlyWhereTheyAreAskedFor(t *testing.T) {
	for path, want := range map[string]string{
		"/debug/pprof/": "Types of profiles available", "/debug/pprof/goroutine?debug=1": "goroutine profile", "/debug/pprof/cmdline": "test",
	} {
		if r := get(t, debugged(t, true), path); r.Code != http.StatusOK || !strings.Contains(r.Body.String(), want) {
			t.Errorf("%s: %d %.100s", path, r.Code, r.Body)
		}
		if r := get(t, debugged(t, false), path); r.Code != http.StatusNotFound {
			t.Errorf("%s without --profiling: %d", path, r.Code)
		}
	}
}
