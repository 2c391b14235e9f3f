// Command upgrade shows that agents of older revisions of this repository and today's follow each other without a loss:
//
//	git history ── archive, go build ──► agents of REVISION...
//	                                          │
//	        a guest with all of them ─────────┴──► e2e/upgrade_kernel_test.go: old, new, old, new, under requests
//
// Without a revision it takes the last one of each older layout of our nftables table.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab"
)

// guestDir is where the test looks for agents: each in a folder that is called as its revision.
const guestDir = "/upgrade"

// eachTakes is what a revision's test needs at most, on a busy machine without KVM.
const eachTakes = 10 * time.Minute

// revisions are taken if none is named: of each layout before today's (filter/layout.go) the last revision that builds.
func revisions() []string {
	return []string{
		"1ca30ca0a74598ae34c43db386db5e410aa2b5a6", // layout 1
		"b42e65a02db33342387dbab0845c48584dd18c29", // layout 2
		"50de154c534b21b1d5f069b44ad1f7626cad94ec", // layout 3
		"f7e6d85f22407a87e5870bdd8b07a16f1b7fafdd", // layout 4
	}
}

// options are the command line.
type options struct {
	run       string
	memory    string
	revisions []string
}

func parse(usage io.Writer, args []string) (options, error) {
	o := options{revisions: revisions()}
	f := flag.NewFlagSet("upgrade", flag.ContinueOnError)
	f.SetOutput(usage)
	f.Usage = func() {
		fmt.Fprintln(usage, "usage: upgrade [FLAGS] [REVISION...]")
		f.PrintDefaults()
	}
	f.StringVar(&o.run, "run", "^TestAgentsOfOtherRevisions", "run the tests that match this `regexp`")
	f.StringVar(&o.memory, "mem", "1G", "memory of the guest")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		o.revisions = f.Args()
	}
	return o, nil
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	code := run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

// run returns the exit code: 1 if something was lost or the run failed, 2 for a wrong command line.
func run(ctx context.Context, args []string) int {
	o, err := parse(os.Stderr, args)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		return 2 // the flag set has said it
	}
	err = upgrade(ctx, o)
	switch {
	case ctx.Err() != nil:
		err = errors.New("interrupted")
	case errors.Is(err, lab.ErrFailed):
		return 1 // the report has said it
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "upgrade:", err)
		return 1
	}
	return 0
}

func upgrade(ctx context.Context, o options) error {
	dir, err := lab.NewTempDir("", "kube-ipvs-upgrade-")
	if err != nil {
		return err
	}
	defer func() { _ = dir.Remove() }()
	s := &lab.Suite{
		Programs: []string{"./cmd/kube-ipvs"}, Tags: []string{"upgrade"}, Run: o.run, Verbose: true,
		Timeout: time.Duration(len(o.revisions)) * eachTakes, Output: os.Stdout,
	}
	commits, err := resolve(ctx, ".", o.revisions)
	if err != nil {
		return err
	}
	for _, c := range commits {
		fmt.Fprintln(os.Stderr, "upgrade: building the agent of", c)
		agent, err := c.build(ctx, dir.Path)
		if err != nil {
			return err
		}
		s.Files = append(s.Files, lab.File{Source: agent, Dest: guestDir + "/" + c.short + "/kube-ipvs"})
	}
	if s.Packages, err = lab.ListPackages(ctx, []string{"./e2e"}); err != nil {
		return err
	}
	l, err := lab.New(os.Stderr)
	if err != nil {
		return err
	}
	k, err := l.Prepare(ctx, false)
	if err != nil {
		return err
	}
	return s.RunGuest(ctx, k, cmp.Or(o.memory, "1G"), nil)
}
