package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab"
)

// commit is a revision that is in a clone.
type commit struct {
	repository  string // a directory of the clone
	hash, short string
	subject     string
}

func (c commit) String() string { return c.short + " (" + c.subject + ")" }

// resolve finds revisions in the clone that a directory belongs to.
func resolve(ctx context.Context, repository string, revisions []string) ([]commit, error) {
	var commits []commit
	var errs []error
	for _, r := range revisions {
		out, err := git(ctx, repository, "log", "-1", "--format=%H %h %s", "--end-of-options", r+"^{commit}", "--")
		if err != nil {
			errs = append(errs, missing(ctx, repository, r))
			continue
		}
		parts := strings.SplitN(strings.TrimSpace(out), " ", 3)
		if len(parts) < 3 {
			parts = append(parts, make([]string, 3-len(parts))...)
		}
		commits = append(commits, commit{repository: repository, hash: parts[0], short: parts[1], subject: parts[2]})
	}
	return commits, errors.Join(errs...)
}

// missing says why a revision may not be there.
func missing(ctx context.Context, repository, revision string) error {
	shallow, err := git(ctx, repository, "rev-parse", "--is-shallow-repository")
	switch {
	case err != nil:
		return fmt.Errorf("revision %s: older agents are built from git's history: %w", revision, err)
	case strings.TrimSpace(shallow) == "true":
		return fmt.Errorf("revision %s is not here: this clone is shallow, and older agents are built from its history; run 'git fetch --unshallow'", revision)
	default:
		return fmt.Errorf("revision %s is not here; run 'git fetch', or name another one", revision)
	}
}

// build builds the agent of a commit below dir, in a folder of its own, and returns the program's file. The working tree is
// not touched.
func (c commit) build(ctx context.Context, dir string) (string, error) {
	source := filepath.Join(dir, c.hash, "source")
	archive := filepath.Join(dir, c.hash, "source.tar")
	program := filepath.Join(dir, c.hash, "kube-ipvs")
	if err := os.MkdirAll(source, 0o755); err != nil {
		return "", fmt.Errorf("agent of %s: %w", c.short, err)
	}
	if _, err := git(ctx, c.repository, "archive", "--format=tar", "-o", archive, c.hash); err != nil {
		return "", fmt.Errorf("agent of %s: %w", c.short, err)
	}
	if _, err := output(exec.CommandContext(ctx, "tar", "-x", "-f", archive, "-C", source)); err != nil {
		return "", fmt.Errorf("agent of %s: %w", c.short, err)
	}
	cmd := lab.GoCommand(ctx, dir, "build", "-trimpath", "-ldflags=-s -w -X main.version="+c.short, "-o", program, "./cmd/kube-ipvs")
	cmd.Dir = source
	if _, err := output(cmd); err != nil {
		return "", fmt.Errorf("agent of %s: %w", c.short, err)
	}
	return program, errors.Join(os.Remove(archive), os.RemoveAll(source))
}

func git(ctx context.Context, repository string, args ...string) (string, error) {
	return output(exec.CommandContext(ctx, "git", append([]string{"-C", repository}, args...)...))
}

// output runs a command; the error has what it said.
func output(cmd *exec.Cmd) (string, error) {
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args[:min(len(cmd.Args), 4)], " "), err, bytes.TrimSpace(said.Bytes()))
	}
	return out.String(), nil
}
