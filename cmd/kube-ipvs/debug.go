package main

import (
	"fmt"
	"net/http"
	"net/http/pprof"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// debugHandlers adds /flagz, and /debug/pprof where profiling is asked for.
func debugHandlers(mux *http.ServeMux, flags *pflag.FlagSet, profiling bool) {
	text := flagz(flags)
	mux.HandleFunc("GET /flagz", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		_, _ = fmt.Fprint(w, text) // the client is gone: nobody is left to tell
	})
	if !profiling {
		return
	}
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
}

// flagz is the flags in force, those of the --config file included, one a line, sorted: the text of Kubernetes' own
// components (KEP-4828). No flag carries a secret: --kubeconfig and --config are names of files.
func flagz(flags *pflag.FlagSet) string {
	var lines []string
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Name == "help" || f.Hidden {
			return
		}
		lines = append(lines, f.Name+"="+f.Value.String())
	})
	slices.Sort(lines)
	return "\nkube-ipvs flags\n" +
		"Warning: This endpoint is not meant to be machine parseable, has no formatting compatibility guarantees and is for debugging purposes only.\n\n" +
		strings.Join(lines, "\n") + "\n"
}
