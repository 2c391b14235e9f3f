package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab"
)

func runExec(ctx context.Context, args []string) int {
	var g guestFlags
	f := newFlags("exec")
	g.register(f)
	if code, ok := f.parse(args); !ok {
		return code
	}
	if f.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "run exec: name a command")
		return exitUsage
	}
	k, err := prepare(ctx, false)
	if err != nil {
		return failed(err, exitGuest)
	}
	p := &passThrough{}
	if err := execInGuest(ctx, k, g, f.Args(), p); err != nil {
		return failed(err, exitGuest)
	}
	if p.exit.Error != "" {
		fmt.Fprintln(os.Stderr, "lab:", p.exit.Error)
	}
	return p.exit.Code
}

func execInGuest(ctx context.Context, k lab.Kernel, g guestFlags, args []string, o lab.Observer) error {
	dir, err := lab.NewTempDir("", "kube-ipvs-lab-")
	if err != nil {
		return err
	}
	defer func() { _ = dir.Remove() }()
	init, err := lab.BuildInit(ctx, dir.Path)
	if err != nil {
		return err
	}
	for _, p := range g.programs {
		file, err := lab.BuildProgram(ctx, p, dir.Path)
		if err != nil {
			return err
		}
		g.files = append(g.files, lab.File{Source: file, Dest: "/usr/local/bin/" + filepath.Base(file)})
	}
	guest := &lab.Guest{
		Kernel: k, Init: init, Memory: g.memory, Files: g.files, Out: g.out, Console: g.consoleWriter(), Timeout: g.timeout,
	}
	_, err = guest.Run(ctx, lab.Job{Steps: []lab.Step{{Name: args[0], Args: args}}}, o)
	return err
}

// passThrough shows the output of a command as it comes.
type passThrough struct{ exit lab.Exit }

// Started implements lab.Observer.
func (*passThrough) Started(int) {}

// Output implements lab.Observer.
func (*passThrough) Output(_ int, s lab.Stream, data []byte) {
	if s == lab.Stderr {
		_, _ = os.Stderr.Write(data)
		return
	}
	_, _ = os.Stdout.Write(data)
}

// Exited implements lab.Observer.
func (p *passThrough) Exited(e lab.Exit) { p.exit = e }
