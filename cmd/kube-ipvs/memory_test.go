package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
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

// collector records what is done with it, in the order of it.
type collector struct{ did []string }

func (c *collector) care(environment map[string]string) memoryCare {
	return memoryCare{
		environ:    func(name string) string { return environment[name] },
		setPercent: func(percent int) int { c.did = append(c.did, fmt.Sprintf("percent %d", percent)); return 100 },
		setLimit:   func(limit int64) int64 { c.did = append(c.did, fmt.Sprintf("limit %d", limit)); return math.MaxInt64 },
		giveBack:   func() { c.did = append(c.did, "give back") },
	}
}

func TestMemoryIsGivenBackOnceTheStartIsDone(t *testing.T) {
	for name, c := range map[string]struct {
		environment          map[string]string
		starting, afterwards []string
	}{
		"by itself":            {nil, []string{"percent 200"}, []string{"percent 200", "percent 50", "give back"}},
		"what Go has read":     {map[string]string{"GOGC": "70"}, nil, []string{"give back"}},
		"of the limit instead": {map[string]string{"GOMEMLIMIT": "1GiB"}, []string{"percent 200"}, []string{"percent 200", "percent 50", "give back"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var gc collector
				m := gc.care(c.environment)
				m.begin()
				var started atomic.Bool
				settled := make(chan struct{})
				go func() { m.settle(t.Context(), started.Load); close(settled) }()
				time.Sleep(time.Minute) // of the bubble's clock
				synctest.Wait()
				if !slices.Equal(gc.did, c.starting) {
					t.Errorf("%q while it starts, want %q", gc.did, c.starting)
				}
				started.Store(true)
				<-settled
				if !slices.Equal(gc.did, c.afterwards) {
					t.Errorf("%q afterwards, want %q", gc.did, c.afterwards)
				}
			})
		})
	}
}

func TestTheHeapMayFillMostOfWhatTheContainerHas(t *testing.T) {
	for name, c := range map[string]struct {
		environment map[string]string
		limit       string
		want        []string
	}{
		"nine tenths":             {nil, "200000000\n", []string{"percent 200", "limit 180000000"}},
		"whatever GOGC is":        {map[string]string{"GOGC": "70"}, "200000000\n", []string{"limit 180000000"}},
		"GOMEMLIMIT stands":       {map[string]string{"GOMEMLIMIT": "1GiB"}, "200000000\n", []string{"percent 200"}},
		"no limit is none":        {nil, "max\n", []string{"percent 200"}},
		"one that is near to all": {nil, "9223372036854775806\n", []string{"percent 200", "limit 8301034833169298220"}},
	} {
		t.Run(name, func(t *testing.T) {
			var gc collector
			m, dir := gc.care(c.environment), t.TempDir()
			m.cgroups, m.ownCgroup = dir, filepath.Join(dir, "own")
			put(t, m.ownCgroup, "0::/\n")
			put(t, filepath.Join(dir, "memory.max"), c.limit)
			m.begin()
			if !slices.Equal(gc.did, c.want) {
				t.Errorf("%q, want %q", gc.did, c.want)
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
