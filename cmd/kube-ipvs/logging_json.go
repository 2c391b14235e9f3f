package main

import (
	"encoding"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strconv"
	"time"

	"github.com/go-logr/logr"
)

// jsonLogger writes one object a line, with the keys of Kubernetes' JSON logs: ts (milliseconds since 1970), caller, msg,
// v, and err on errors, which have no v. It returns what sets its level.
func jsonLogger(w io.Writer) (logr.Logger, func(int)) {
	threshold := new(slog.LevelVar)
	handler := slog.NewJSONHandler(w, &slog.HandlerOptions{AddSource: true, Level: threshold, ReplaceAttr: asKubernetes})
	return logr.FromSlogHandler(handler), func(level int) { threshold.Set(slog.Level(-level)) } // logr's levels are slog's below zero
}

// asKubernetes renames what slog adds to each line, and shows values as the text format does.
func asKubernetes(groups []string, a slog.Attr) slog.Attr {
	switch v := a.Value.Any().(type) {
	case time.Time:
		if a.Key == slog.TimeKey && len(groups) == 0 {
			return slog.Float64("ts", float64(v.UnixMicro())/1000)
		}
	case slog.Level:
		if v >= slog.LevelError {
			return slog.Attr{}
		}
		return slog.Int("v", int(-v))
	case *slog.Source:
		return slog.String("caller", filepath.Base(v.File)+":"+strconv.Itoa(v.Line))
	case time.Duration:
		return slog.String(a.Key, v.String())
	case logr.Marshaler:
		return slog.Any(a.Key, v.MarshalLog())
	case error, json.Marshaler, encoding.TextMarshaler: // which slog asks
	case fmt.Stringer:
		return slog.String(a.Key, fmt.Sprint(v)) // which a nil pointer does not break
	}
	return a
}
