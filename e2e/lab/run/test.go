package main

import (
	"context"
	"fmt"
	"os"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab"
)

func runTest(ctx context.Context, args []string) int {
	var g guestFlags
	f := newFlags("test")
	g.register(f)
	s := &lab.Suite{Output: os.Stdout}
	f.BoolVar(&s.Verbose, "v", false, "print the output of every test")
	f.StringVar(&s.Run, "run", "", "run the tests that match this `regexp`, also those without the tag kernel")
	f.StringVar(&s.Bench, "bench", "", "run the benchmarks that match this `regexp`, and no tests without -run")
	f.IntVar(&s.Count, "count", 1, "run each package's tests `N` times, one after the other")
	host := f.Bool("host", false, "use this machine's own kernel instead of a guest (needs root and IPVS)")
	if code, ok := f.parse(args); !ok {
		return code
	}
	if f.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "run test: name packages")
		return exitUsage
	}
	if s.Count < 1 {
		fmt.Fprintf(os.Stderr, "run test: -count %d: tests run once at least\n", s.Count)
		return exitUsage
	}
	s.Programs, s.Files, s.Timeout, s.Out = g.programs, g.files, g.timeout, g.out
	if *host && len(s.Files) > 0 {
		fmt.Fprintln(os.Stderr, "run test: -file is for guests: with -host tests see this machine's files")
		return exitUsage
	}
	var err error
	if s.Packages, err = lab.ListPackages(ctx, f.Args()); err != nil {
		return failed(err, exitUsage)
	}
	if *host {
		err = s.RunHost(ctx)
	} else {
		err = testInGuest(ctx, s, g)
	}
	if err != nil {
		return failed(err, exitGuest)
	}
	return 0
}

func testInGuest(ctx context.Context, s *lab.Suite, g guestFlags) error {
	k, err := prepare(ctx, false)
	if err != nil {
		return err
	}
	return s.RunGuest(ctx, k, g.memory, g.consoleWriter())
}
