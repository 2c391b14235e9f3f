package lab

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// fakeProgram puts a shell script into a PATH that has nothing else.
func fakeProgram(t *testing.T, name, script string) {
	t.Helper()
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin)
}

func TestAGuestThatReachesItsTimeoutIsEndedAndTheFlagNamed(t *testing.T) {
	fakeProgram(t, "qemu-system-x86_64", "read forever <&3")
	k := Kernel{Version: "6.1", Dir: t.TempDir()}
	init := filepath.Join(k.Dir, "init")
	for _, f := range []string{k.base(), init} {
		if err := os.WriteFile(f, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	g := &Guest{Kernel: k, Init: init, Memory: "1G", Timeout: 50 * time.Millisecond}
	_, err := g.Run(t.Context(), Job{}, nil)
	if err == nil || !strings.HasPrefix(err.Error(), "run guest: -timeout of 50ms reached while it booted\n") {
		t.Errorf("error %v", err)
	}
}

func TestAHostThatReachesItsTimeoutNamesTheFlagAndTheStep(t *testing.T) {
	h := &Host{Timeout: time.Nanosecond}
	_, err := h.Run(t.Context(), Job{Steps: []Step{{Name: "first", Args: []string{"true"}}}}, deaf{})
	if err == nil || err.Error() != "-timeout of 1ns reached in first" {
		t.Errorf("error %v", err)
	}
}

// deaf is an Observer that remembers nothing.
type deaf struct{}

func (deaf) Started(int)                {}
func (deaf) Output(int, Stream, []byte) {}
func (deaf) Exited(Exit)                {}

func TestABuildThatIsInterruptedSaysSo(t *testing.T) {
	fakeProgram(t, "go", "while :; do :; done")
	ctx, interrupt := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer interrupt()
	if err := goBuild(ctx, t.TempDir(), "build", "./demo"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
}
