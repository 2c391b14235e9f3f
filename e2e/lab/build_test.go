package lab

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestAnInterruptedBuildLeavesNoProcessAndWorksWhereItsCallerRemovesIt(t *testing.T) {
	bin, dir := t.TempDir(), t.TempDir()
	const goCommand = "#!/bin/sh\nsleep 600 &\necho $! >\"$GOTMPDIR/compiler.new\"\nmv \"$GOTMPDIR/compiler.new\" \"$GOTMPDIR/compiler\"\nwait\n"
	if err := os.WriteFile(filepath.Join(bin, "go"), []byte(goCommand), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	compiler := filepath.Join(dir, "compiler")
	ended := make(chan error, 1)
	go func() { ended <- goBuild(ctx, dir, "build", "./x") }()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if _, err := os.Stat(compiler); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("it does not work in its directory")
		}
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want %v", err, context.Canceled)
	}
	pid, err := os.ReadFile(compiler)
	if err != nil {
		t.Fatal(err)
	}
	gone := func() bool { // or dead, where nobody reaps it
		stat, err := os.ReadFile("/proc/" + strings.TrimSpace(string(pid)) + "/stat")
		return errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) || strings.Contains(string(stat), ") Z ")
	}
	for deadline := time.Now().Add(10 * time.Second); !gone(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("compiler %s goes on", pid)
		}
	}
}
