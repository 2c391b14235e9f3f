package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"time"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab"
)

// flags are the flags of one command.
type flags struct{ *flag.FlagSet }

func newFlags(command string) flags {
	return flags{flag.NewFlagSet("run "+command, flag.ContinueOnError)}
}

// parse returns ok, or the exit code.
func (f flags) parse(args []string) (code int, ok bool) {
	err := f.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		return 0, false
	}
	return exitUsage, err == nil
}

// guestFlags are what test and exec have in common.
type guestFlags struct {
	memory   string
	timeout  time.Duration
	out      string
	console  bool
	programs []string
	files    []lab.File
}

func (g *guestFlags) register(f flags) {
	f.StringVar(&g.memory, "mem", "1G", "memory of the guest")
	f.DurationVar(&g.timeout, "timeout", 5*time.Minute, "end the guest, with -host the tests, after this `duration`; what is fetched and built before does not count")
	f.StringVar(&g.out, "out", "", "`directory` for the files that are left in $LAB_OUT")
	f.BoolVar(&g.console, "console", false, "show the guest's serial console on standard error")
	f.Func("bin", "build this main `package` into the guest's PATH (repeatable)", func(s string) error {
		g.programs = append(g.programs, s)
		return nil
	})
	f.Func("file", "put a file or directory into the guest, as `SOURCE=DESTINATION` (repeatable)", func(s string) error {
		source, dest, ok := strings.Cut(s, "=")
		if !ok || !path.IsAbs(dest) {
			return fmt.Errorf("%q is not SOURCE=/ABSOLUTE/DESTINATION", s)
		}
		g.files = append(g.files, lab.File{Source: source, Dest: dest})
		return nil
	})
}

func (g *guestFlags) consoleWriter() io.Writer {
	if g.console {
		return os.Stderr
	}
	return nil
}
