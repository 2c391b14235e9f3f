package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab"
)

// modprobe loads modules by name or alias, as kmod's does: modprobe [-q] [-n] [-a] NAME... It returns the exit code.
// The kernel calls it as "modprobe -q -- NAME".
func modprobe(args []string, l *loader, stderr io.Writer) int {
	var names []string
	quiet, dryRun, options := false, false, true
	for _, a := range args {
		switch {
		case !options || a == "" || a[0] != '-':
			names = append(names, a)
		case a == "--":
			options = false
		case a == "-q" || a == "--quiet":
			quiet = true
		case a == "-n" || a == "--dry-run" || a == "--show":
			dryRun = true
		case a == "-a" || a == "--all" || a == "-v" || a == "--verbose" || a == "-b" || a == "--use-blacklist":
		default:
			fmt.Fprintf(stderr, "modprobe: FATAL: option %s is not known in this guest\n", a)
			return 1
		}
	}
	code := 0
	for _, name := range names {
		var err error
		if dryRun {
			_, err = l.index.Resolve(name)
		} else {
			err = l.load(name)
		}
		if err == nil {
			continue
		}
		code = 1
		switch {
		case !errors.Is(err, lab.ErrNoModule):
			fmt.Fprintf(stderr, "modprobe: ERROR: could not insert '%s': %v\n", name, err)
		case !quiet:
			fmt.Fprintf(stderr, "modprobe: FATAL: Module %s not found in directory %s\n", name, l.dir)
		}
	}
	return code
}

// loader loads modules of the running kernel.
type loader struct {
	dir    string
	index  *lab.ModuleIndex
	insert func(file string) error
}

func newLoader() (*loader, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return nil, fmt.Errorf("uname: %w", err)
	}
	dir := "/lib/modules/" + unix.ByteSliceToString(u.Release[:])
	index, err := lab.LoadModuleIndex(dir)
	if err != nil {
		return nil, err
	}
	return &loader{dir, index, insert}, nil
}

// load loads a module and what it needs. A module that is there already is left alone.
func (l *loader) load(name string) error {
	files, err := l.index.Resolve(name)
	if err != nil {
		return err
	}
	var failed error
	for _, file := range files {
		if err := l.insert(filepath.Join(l.dir, file)); err != nil {
			// An alias may name several modules, of which this machine needs one.
			failed = errors.Join(failed, fmt.Errorf("load %s: %w", file, err))
		}
	}
	return failed
}

// insert loads one module from its file, whose needs are loaded.
func insert(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	err = unix.FinitModule(int(f.Fd()), parameters(file), 0)
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	return nil
}

// parameters are those of a module in the guest. With so little memory the kernel would track 8192 connections at a time, of
// which tests of some minutes have more, those in TIME_WAIT included; it drops what is beyond. With a hash size given it
// tracks eight for each bucket (net/netfilter/nf_conntrack_core.c, nf_conntrack_init_start).
func parameters(file string) string {
	if strings.HasPrefix(filepath.Base(file), "nf_conntrack.ko") {
		return "hashsize=16384"
	}
	return ""
}
