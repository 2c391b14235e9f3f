package main

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestMemoryLimitIsTheLeastOfTheCgroups(t *testing.T) {
	const none = math.MaxInt64
	for name, c := range map[string]struct {
		own   string
		files map[string]string
		want  int64
	}{
		"no cgroup":                  {"", nil, none},
		"without a limit":            {"0::/kubepods/pod1\n", map[string]string{"kubepods/pod1/memory.max": "max\n"}, none},
		"its own":                    {"0::/kubepods/pod1\n", map[string]string{"kubepods/pod1/memory.max": "200000000\n"}, 200000000},
		"one above it":               {"0::/kubepods/pod1/c\n", map[string]string{"kubepods/pod1/memory.max": "100000000\n", "kubepods/pod1/c/memory.max": "max\n"}, 100000000},
		"a namespace of its own":     {"0::/\n", map[string]string{"memory.max": "300000000\n"}, 300000000},
		"a file that is no number":   {"0::/\n", map[string]string{"memory.max": "?\n"}, none},
		"a line that nobody expects": {"what\n", map[string]string{"memory.max": "300000000\n"}, none},
		"version 1":                  {"3:cpu:/a\n2:hugetlb,memory:/pod1\n", map[string]string{"memory/pod1/memory.limit_in_bytes": "400000000\n"}, 400000000},
		"another controller":         {"2:cpu:/pod1\n", map[string]string{"memory/pod1/memory.limit_in_bytes": "400000000\n"}, none},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			m := memoryCare{cgroups: filepath.Join(dir, "cgroup"), ownCgroup: filepath.Join(dir, "own")}
			put(t, m.ownCgroup, c.own)
			for file, content := range c.files {
				put(t, filepath.Join(m.cgroups, file), content)
			}
			if got := m.limit(); got != c.want {
				t.Errorf("limit %d, want %d", got, c.want)
			}
		})
	}
}

func TestMemoryIsGivenBackOnceTheStartIsDone(t *testing.T) {
	beforeTest := debug.SetGCPercent(100)
	defer debug.SetGCPercent(beforeTest)
	for _, c := range []struct {
		environment          string
		starting, afterwards int
	}{
		{"", collectAtStart, collectLater},
		{"70", 100, 100}, // what Go has read from it stands
	} {
		synctest.Test(t, func(t *testing.T) {
			debug.SetGCPercent(100)
			m := memoryCare{environ: func(name string) string { return map[string]string{"GOGC": c.environment, "GOMEMLIMIT": "1GiB"}[name] }}
			m.begin()
			var started atomic.Bool
			settled := make(chan struct{})
			go func() { m.settle(t.Context(), started.Load); close(settled) }()
			time.Sleep(time.Minute) // of the bubble's clock
			if got := debug.SetGCPercent(c.starting); got != c.starting {
				t.Errorf("GOGC=%q: %d percent while it starts, want %d", c.environment, got, c.starting)
			}
			started.Store(true)
			<-settled
			if got := debug.SetGCPercent(100); got != c.afterwards {
				t.Errorf("GOGC=%q: %d percent afterwards, want %d", c.environment, got, c.afterwards)
			}
		})
	}
}

func TestMemoryCareEndsWithTheAgent(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	newMemoryCare().settle(ctx, func() bool { return false })
}

func put(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
