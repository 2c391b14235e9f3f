package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

const initPackage = "github.com/kube-ipvs/kube-ipvs/e2e/lab/init"

// BuildInit builds the guest's init into dir and returns its path. It works anywhere in this module.
func BuildInit(ctx context.Context, dir string) (string, error) {
	return BuildProgram(ctx, initPackage, dir)
}

// BuildProgram builds a package main, static and without symbols, into dir under the name `go build` would choose.
func BuildProgram(ctx context.Context, pkg, dir string) (string, error) {
	name, err := output(ctx, "", "go", "list", "-f", "{{.Target}}", pkg)
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, filepath.Base(string(trimNewline(name))))
	return file, goBuild(ctx, dir, "build", "-o", file, pkg)
}

// BuildTest builds a package's test binary with its kernel tests, and with those of more tags.
func BuildTest(ctx context.Context, p Package, file string, tags ...string) error {
	all := strings.Join(append([]string{KernelTag}, tags...), ",")
	if err := goBuild(ctx, filepath.Dir(file), "test", "-c", "-tags", all, "-o", file, p.Path); err != nil {
		return err
	}
	if _, err := os.Stat(file); err != nil {
		return fmt.Errorf("%s has no test files", p.Name)
	}
	return nil
}

// goBuild runs a go command that builds. What the compiler says goes to our standard error, where people look for it.
func goBuild(ctx context.Context, dir, verb string, args ...string) error {
	cmd := GoCommand(ctx, dir, append([]string{verb, "-ldflags=-s -w"}, args...)...)
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("go %s %s: %w", verb, args[len(args)-1], whyEnded(ctx, err))
	}
	return nil
}

// GoCommand returns a go command for programs without cgo that works in a directory of its caller's. Interrupted in its
// own, go leaves it behind, with compilers that still write there: with ctx ends all that the command has started, and what is
// left goes with the directory.
func GoCommand(ctx context.Context, dir string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOTMPDIR="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	return cmd
}

func trimNewline(b []byte) []byte {
	for len(b) > 0 && b[len(b)-1] == '\n' {
		b = b[:len(b)-1]
	}
	return b
}
