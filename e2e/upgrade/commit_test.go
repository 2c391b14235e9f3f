package main

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// clone is a repository with two commits, of which the first has a program.
func clone(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	write := func(name, text string) {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	runGit(t, dir, "init", "-q")
	write("go.mod", "module example.org/agent\n\ngo 1.21\n")
	write("cmd/kube-ipvs/main.go", "package main\n\nvar version string\n\nfunc main() { print(version, \" old\") }\n")
	runGit(t, dir, "add", ".")
	runGit(t, dir, "commit", "-q", "-m", "an agent")
	write("cmd/kube-ipvs/main.go", "package main\n\nfunc main() { print(\"new\") }\n")
	runGit(t, dir, "commit", "-q", "-a", "-m", "another one")
	return dir
}

func runGit(t *testing.T, dir string, args ...string) {
	t.Helper()
	own := []string{"-c", "user.name=n", "-c", "user.email=n@example.org", "-c", "commit.gpgsign=false", "-c", "init.defaultBranch=main"}
	cmd := exec.Command("git", slices.Concat([]string{"-C", dir}, own, args)...)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
}

func TestTheAgentOfAnOlderRevisionIsBuiltBesideTheTree(t *testing.T) {
	dir := clone(t)
	commits, err := resolve(t.Context(), dir, []string{"HEAD~1"})
	if err != nil {
		t.Fatal(err)
	}
	if len(commits) != 1 || commits[0].subject != "an agent" || !strings.HasPrefix(commits[0].hash, commits[0].short) {
		t.Fatalf("%+v", commits)
	}
	program, err := commits[0].build(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(program).CombinedOutput()
	if want := commits[0].short + " old"; err != nil || string(out) != want {
		t.Errorf("it says %q (%v), want %q", out, err, want)
	}
	if status, err := git(t.Context(), dir, "status", "--porcelain"); err != nil || status != "" {
		t.Errorf("the tree is changed: %v\n%s", err, status)
	}
}

func TestARevisionThatIsNotHereIsAnErrorThatSaysWhatToDo(t *testing.T) {
	dir := clone(t)
	shallow := t.TempDir()
	runGit(t, shallow, "clone", "-q", "--depth=1", "file://"+dir, ".")
	for _, tt := range []struct{ name, dir, revision, want string }{
		{"unknown", dir, "nothing-of-that-name", "git fetch"},
		{"an option", dir, "--all", "git fetch"},
		{"in a shallow clone", shallow, "HEAD~1", "git fetch --unshallow"},
		{"outside of a clone", t.TempDir(), "HEAD", "git's history"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := resolve(t.Context(), tt.dir, []string{tt.revision})
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), tt.revision) {
				t.Errorf("%v, want %s and %q in it", err, tt.revision, tt.want)
			}
		})
	}
}

func TestRevisionsAreThoseThatAreNamedOrOneOfEachLayout(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want []string
	}{{nil, revisions()}, {[]string{"v1", "v2"}, []string{"v1", "v2"}}} {
		o, err := parse(io.Discard, tt.args)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(tt.want, o.revisions); d != "" {
			t.Errorf("%v (-want +got):\n%s", tt.args, d)
		}
	}
	if _, err := parse(io.Discard, []string{"-no-such"}); err == nil {
		t.Error("an unknown flag is taken")
	}
}
