package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	stdsync "sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/klog/v2"

	"github.com/kube-ipvs/kube-ipvs/sync"
)

// written begins a log and returns what was written to it so far.
func written(t *testing.T, o loggingOptions) (*logging, *bytes.Buffer) {
	t.Helper()
	var b bytes.Buffer
	l, err := newLogging(&b, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		l.apply(0)
		klog.ClearLogger()
	})
	return l, &b
}

func TestTheLogLevelCanBeChangedWhileTheLogIsWritten(t *testing.T) {
	for _, format := range []string{logText, logJSON} {
		t.Run(format, func(t *testing.T) {
			l, b := written(t, loggingOptions{format: format, verbosity: 1})
			named := l.logger.WithName("sync").WithValues("node", "node1") // loggers that are in use already follow
			tell := func() {
				named.V(1).Info("one")
				named.V(2).Info("two")
				klog.V(2).InfoS("two of client-go")
				klog.Background().V(2).Info("two of its contextual kind")
			}
			tell()
			if text := b.String(); !strings.Contains(text, "one") || strings.Contains(text, "two") {
				t.Errorf("level 1 writes\n%s", text)
			}
			if err := l.SetLevel(2); err != nil {
				t.Fatal(err)
			}
			tell()
			for _, want := range []string{`"two"`, `"two of client-go"`, `"two of its contextual kind"`, `"The log level changed"`} {
				if !strings.Contains(b.String(), want) {
					t.Errorf("level 2 does not write %s:\n%s", want, b)
				}
			}
			if err := l.SetLevel(0); err != nil || l.Level() != 0 {
				t.Errorf("level %d, %v", l.Level(), err)
			}
			b.Reset()
			tell()
			if b.Len() > 0 {
				t.Errorf("level 0 writes\n%s", b)
			}
			if err := l.SetLevel(0); err != nil || b.Len() > 0 {
				t.Errorf("the level that it has already: %v, told:\n%s", err, b)
			}
		})
	}
}

func TestALogLevelOutOfRangeIsRefusedAndChangesNothing(t *testing.T) {
	l, b := written(t, loggingOptions{format: logText, verbosity: 3})
	for _, level := range []int{-1, maxLevel + 1} {
		if err := l.SetLevel(level); err == nil || l.Level() != 3 || b.Len() > 0 {
			t.Errorf("%d: %v, level %d, log %q", level, err, l.Level(), b)
		}
	}
}

func TestTheLogLevelIsSetBesidesLogging(t *testing.T) {
	l, _ := written(t, loggingOptions{format: logJSON})
	var writers stdsync.WaitGroup
	for n := range 4 {
		writers.Go(func() {
			for i := range 100 {
				if n == 0 {
					_ = l.SetLevel(i % 2) // within range
				}
				l.logger.V(1).Info("line", "level", l.Level())
			}
		})
	}
	writers.Wait()
}

func TestVmoduleSetsTheLevelOfSourceFiles(t *testing.T) {
	l, b := written(t, loggingOptions{format: logText, vmodule: "other=9,logging_*=3"})
	l.logger.V(3).Info("three")
	l.logger.V(4).Info("four")
	if text := b.String(); !strings.Contains(text, "three") || strings.Contains(text, "four") {
		t.Errorf("written:\n%s", text)
	}
}

func TestVmoduleIsForTextAlone(t *testing.T) {
	o, err := configured(t, "", "--vmodule=reconcile=4", "--logging-format=json")
	if err != nil {
		t.Fatal(err)
	}
	if err := o.validate(); err == nil || !strings.Contains(err.Error(), "--vmodule is for --logging-format=text") {
		t.Errorf("error %v", err)
	}
}

// object is a thing with a String method, which logs are to show.
type object struct{ Name string }

func (o *object) String() string { return "object " + o.Name }

func TestLinesOfJSONHaveTheKeysOfKubernetes(t *testing.T) {
	l, b := written(t, loggingOptions{format: logJSON, verbosity: 4})
	l.logger.WithName("sync").V(4).Info("Synced", "took", 1500*time.Millisecond, "service", sync.ServiceID{Namespace: "default", Name: "web"},
		"address", netip.MustParseAddr("fd01::10"), "none", (*object)(nil), "object", &object{"a"}, "pod", klog.KRef("default", "web-1"),
		"since", time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), "level", 7, "reason", errors.New("<no>"))
	l.logger.Error(errors.New("broken"), "It failed", "ports", []uint16{1, 2})
	var lines []map[string]any
	for line := range strings.Lines(b.String()) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		ts, _ := fields["ts"].(float64)
		if age := time.Since(time.UnixMicro(int64(1000 * ts))); age < 0 || age > time.Minute {
			t.Errorf("ts is %v, which was %s ago", fields["ts"], age)
		}
		caller, _ := fields["caller"].(string)
		if !strings.HasPrefix(caller, "logging_test.go:") {
			t.Errorf("the caller is %q", caller)
		}
		delete(fields, "ts")
		delete(fields, "caller")
		lines = append(lines, fields)
	}
	want := []map[string]any{
		{
			"msg": "Synced", "v": 4.0, "logger": "sync", "took": "1.5s", "service": "default/web", "address": "fd01::10", "none": "<nil>", "object": "object a",
			"pod": map[string]any{"namespace": "default", "name": "web-1"}, "since": "2026-01-02T03:04:05Z", "level": 7.0, "reason": "<no>",
		},
		{"msg": "It failed", "err": "broken", "ports": []any{1.0, 2.0}},
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
