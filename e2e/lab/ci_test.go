package lab

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// standIn puts a script into a directory of programs. It says that it is there, and then works until it is ended.
func standIn(t *testing.T, dir, name, script string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
}

// interrupt starts a command of the project's root, ends it by SIGTERM once file is there, and waits for its end.
func interrupt(t *testing.T, file string, group bool, env []string, name string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = filepath.Join("..", "..")
	cmd.Env = append(os.Environ(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the start", func() bool { _, err := os.Stat(file); return err == nil })
	to := cmd.Process.Pid
	if group {
		to = -to
	}
	if err := syscall.Kill(to, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if cmd.Wait() == nil {
		t.Error("it says that all went well")
	}
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !f(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s has not come", what)
		}
	}
}

// A go command that gets SIGTERM leaves what it has built.
func TestAnInterruptedMakeLeavesNoDirectoryOfGos(t *testing.T) {
	for _, target := range []string{"e2e", "e2e-controlplane", "demo"} {
		t.Run(target, func(t *testing.T) {
			bin, temp := t.TempDir(), t.TempDir()
			started := filepath.Join(bin, "started")
			standIn(t, bin, "go", `[ "$1" = env ] && exit; mkdir "${GOTMPDIR:-$TMPDIR}/go-build1" && touch `+started+` && exec sleep 60`)
			interrupt(t, started, true, []string{"TMPDIR=" + temp, "GOTMPDIR=", "MAKEFLAGS="}, "make", target, "GO="+filepath.Join(bin, "go"))
			eventually(t, "an empty directory", func() bool {
				left, err := os.ReadDir(temp)
				return err == nil && len(left) == 0
			})
		})
	}
}

func TestAnInterruptedCIEndsItsStage(t *testing.T) {
	bin := t.TempDir()
	started := filepath.Join(bin, "started")
	standIn(t, bin, "make", `echo $$ > `+started+`.new && mv `+started+`.new `+started+` && exec sleep 60`)
	interrupt(t, started, false, []string{"PATH=" + bin + ":" + os.Getenv("PATH")}, ".ci/run")
	pid, err := os.ReadFile(started)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end of the stage", func() bool {
		_, err := os.Readlink("/proc/" + strings.TrimSpace(string(pid)) + "/exe")
		return err != nil
	})
}

func TestStagesOfCIEndWithinAnHourAndAHalf(t *testing.T) {
	script, err := os.ReadFile("../../.ci/run")
	if err != nil {
		t.Fatal(err)
	}
	var sum time.Duration
	stages := regexp.MustCompile(`(?m)^stage (\S+) make`).FindAllStringSubmatch(string(script), -1)
	for _, m := range stages {
		budget, err := time.ParseDuration(m[1])
		if err != nil {
			t.Fatal(err)
		}
		sum += budget
	}
	if sum > 85*time.Minute || len(stages) < 4 {
		t.Errorf("%d stages may take %v", len(stages), sum)
	}
}
