package lab

import (
	"fmt"
	"sort"
	"strings"
	"time"
)

// testEvent is an event as `go tool test2json` writes it.
type testEvent struct {
	Action string
	Test   string
	Output string
}

// Result is what is known of one package's tests.
type Result struct {
	Package string
	Elapsed time.Duration
	// Passed, Failed and Skipped name tests, subtests included; Open those that began and have no verdict. A verdict
	// counts once something follows it. Benchmarks that ran count as passed.
	Passed, Failed, Skipped, Open []string
	// Trailer is what the test binary said last: "pass", "fail", or "" if it said neither.
	Trailer string
	// Exit is the end of the test binary; nil if none came.
	Exit *Exit
}

// collector makes a Result out of events.
type collector struct {
	result Result
	open   map[string]bool
}

func newCollector(name string) *collector {
	return &collector{result: Result{Package: name}, open: map[string]bool{}}
}

func (c *collector) event(e testEvent) {
	if e.Test == "" {
		if e.Action == "pass" || e.Action == "fail" {
			c.result.Trailer = e.Action
		}
		return
	}
	switch e.Action {
	case "run":
		c.open[e.Test] = true
		return
	case "pass":
		c.result.Passed = append(c.result.Passed, e.Test)
	case "fail":
		c.result.Failed = append(c.result.Failed, e.Test)
	case "skip":
		c.result.Skipped = append(c.result.Skipped, e.Test)
	default:
		return
	}
	delete(c.open, e.Test)
}

// finish returns the result; exit is nil if the test binary's end was not seen.
func (c *collector) finish(exit *Exit) Result {
	for name := range c.open {
		// A benchmark that ends well says nothing of its own.
		if strings.HasPrefix(name, "Benchmark") && c.result.Trailer == "pass" {
			c.result.Passed = append(c.result.Passed, name)
			continue
		}
		c.result.Open = append(c.result.Open, name)
	}
	sort.Strings(c.result.Open)
	if exit != nil {
		c.result.Exit = exit
		c.result.Elapsed = exit.Elapsed
	}
	return c.result
}

// Problem says in a sentence why a result is no success; "" if it is one. Only a package whose tests ran, all of them
// passed, to the end, is a success.
func (r Result) Problem() string {
	switch {
	case len(r.Failed) > 0:
		return fmt.Sprintf("%s failed: %s", count(len(r.Failed), "test"), some(r.Failed))
	case r.Exit == nil && len(r.Open) > 0:
		return "no verdict on: " + some(r.Open)
	case r.Exit == nil:
		return "did not run to its end"
	case r.Exit.Error != "":
		return "could not run: " + r.Exit.Error
	case len(r.Open) > 0:
		return fmt.Sprintf("ended with code %d before the verdict on: %s", r.Exit.Code, some(r.Open))
	case r.Exit.Code != 0:
		return fmt.Sprintf("ended with code %d", r.Exit.Code)
	case len(r.Skipped) > 0:
		return fmt.Sprintf("%s skipped, which counts as failure here: %s", count(len(r.Skipped), "test"), some(r.Skipped))
	case r.Trailer != "pass":
		return "ended without saying PASS"
	case len(r.Passed) == 0:
		return "no test ran"
	}
	return ""
}

// topLevel counts the names that are no subtests.
func topLevel(names []string) int {
	n := 0
	for _, s := range names {
		if !strings.Contains(s, "/") {
			n++
		}
	}
	return n
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// some lists the first few names.
func some(names []string) string {
	const most = 5
	if len(names) > most {
		return strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more", len(names)-most)
	}
	return strings.Join(names, ", ")
}
