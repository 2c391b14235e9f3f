package cluster

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// fakeGo puts a go command into PATH that knows a project and builds files of one line. Where $HANG names a file, it
// makes that once half of a program is written and then waits to be interrupted.
func fakeGo(t *testing.T) (hang string) {
	t.Helper()
	bin, root := t.TempDir(), t.TempDir()
	pinned := filepath.Join(root, "e2e", "controlplane")
	if err := os.MkdirAll(pinned, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"go.mod", "go.sum"} {
		if err := os.WriteFile(filepath.Join(pinned, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const goCommand = `#!/bin/sh
case "$1" in
env) echo go1.26.0 ;;
list) echo "$ROOT" ;;
mod) echo '{"Require": [{"Path": "k8s.io/kubernetes", "Version": "v1.37.1"}]}' ;;
build)
	while [ "$1" != -o ]; do shift; done
	echo k8s.io/one >&2
	echo half >"$2"
	if [ -n "$HANG" ]; then
		trap 'exit 1' INT
		echo hanging >"$HANG"
		while :; do sleep 0.01; done
	fi
	case "$3" in *broken) echo '# k8s.io/one' >&2; echo 'one.go:1:2: no' >&2; exit 1 ;; esac
	echo "$3 of $GOFLAGS" >"$2"
	chmod +x "$2" ;;
esac
`
	if err := os.WriteFile(filepath.Join(bin, "go"), []byte(goCommand), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	t.Setenv("ROOT", root)
	return filepath.Join(t.TempDir(), "hanging")
}

func TestOnlyWhatIsMissingIsBuilt(t *testing.T) {
	fakeGo(t)
	var said bytes.Buffer
	b := &Builder{Cache: t.TempDir(), Progress: &said}
	for range 2 {
		built, err := b.Build(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		content, err := os.ReadFile(built.Path("kube-apiserver"))
		if want := "k8s.io/kubernetes/cmd/kube-apiserver of -buildvcs=false -trimpath\n"; err != nil || string(content) != want {
			t.Errorf("%q, %v", content, err)
		}
		if built.Version != "v1.37.1" || !strings.HasPrefix(filepath.Base(built.Dir), "v1.37.1-") {
			t.Errorf("%+v", built)
		}
	}
	if _, err := b.Build(t.Context(), KubeProxy); err != nil {
		t.Fatal(err)
	}
	want := `lab: building Kubernetes v1.37.1; the first time takes about ten minutes on two cores
lab: building etcd (1 of 3)
lab: built etcd (1 of 3) in 0s: 0 MB
lab: building kube-apiserver (2 of 3)
lab: built kube-apiserver (2 of 3) in 0s: 0 MB
lab: building kube-controller-manager (3 of 3)
lab: built kube-controller-manager (3 of 3) in 0s: 0 MB
lab: building Kubernetes v1.37.1; the first time takes about ten minutes on two cores
lab: building kube-proxy (1 of 1)
lab: built kube-proxy (1 of 1) in 0s: 0 MB
`
	if d := cmp.Diff(want, said.String()); d != "" {
		t.Errorf("progress (-want +got):\n%s", d)
	}
}

func TestAProgramThatCannotBeWholeIsBuiltAgain(t *testing.T) {
	for name, spoil := range map[string]func(file string) error{
		"empty":      func(file string) error { return os.Truncate(file, 0) },
		"no program": func(file string) error { return os.Chmod(file, 0o644) },
	} {
		t.Run(name, func(t *testing.T) {
			fakeGo(t)
			b := &Builder{Cache: t.TempDir(), Progress: io.Discard}
			built, err := b.Build(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			file := built.Path(apiServer)
			if err := spoil(file); err != nil {
				t.Fatal(err)
			}
			if _, err := b.Build(t.Context()); err != nil {
				t.Fatal(err)
			}
			if info, err := os.Stat(file); err != nil || info.Size() == 0 || info.Mode()&0o100 == 0 {
				t.Errorf("%v, %v", info, err)
			}
		})
	}
}

func TestAnInterruptedBuildLeavesNothingHalf(t *testing.T) {
	hang := fakeGo(t)
	t.Setenv("HANG", hang)
	b := &Builder{Cache: t.TempDir(), Progress: io.Discard}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		_, err := b.Build(ctx)
		ended <- err
	}()
	eventually(t, "half a program", func() bool { _, err := os.Stat(hang); return err == nil })
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	left, err := filepath.Glob(filepath.Join(b.Cache, "*", "*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	// One that was killed could not clean up; the next build does.
	killed := filepath.Join(b.Cache, unfinished+"1")
	if err := os.Mkdir(killed, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("HANG", "")
	if _, err := b.Build(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(killed); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

func TestWithNothingToBuildNobodyIsWaitedFor(t *testing.T) {
	fakeGo(t)
	b := &Builder{Cache: t.TempDir(), Progress: io.Discard}
	if _, err := b.Build(t.Context()); err != nil {
		t.Fatal(err)
	}
	unlock, err := b.lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	if _, err := b.Build(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := b.Build(ctx, KubeProxy); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, want it to wait for its turn", err)
	}
}

func TestWhatTheCompilerSaysIsInTheError(t *testing.T) {
	fakeGo(t)
	b := &Builder{Cache: t.TempDir(), Progress: io.Discard}
	_, err := b.Build(t.Context(), "broken")
	if want := "build broken: exit status 1\n# k8s.io/one\none.go:1:2: no"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestAModuleOfOtherToolsIsAnotherModule(t *testing.T) {
	bin, root := t.TempDir(), t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "e2e", "controlplane"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	b := &Builder{Version: "v1.36.3", Cache: t.TempDir(), Progress: io.Discard}
	dirs := map[string]bool{}
	for _, tools := range []string{`{"Path": "etcd"}`, `{"Path": "etcd"}`, `{"Path": "etcd"}, {"Path": "kubectl"}`} {
		script := "#!/bin/sh\ncase $1 in list) echo " + root + " ;; *) echo '{\"Tool\": [" + tools + "]}' ;; esac\n"
		if err := os.WriteFile(filepath.Join(bin, "go"), []byte(script), 0o700); err != nil {
			t.Fatal(err)
		}
		m, err := b.module(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		dirs[m.dir] = true
	}
	if len(dirs) != 2 {
		t.Errorf("modules %v, want one for each set of tools", dirs)
	}
}

func TestAModuleForAnotherVersionReplacesWhatUpstreamKeepsInStaging(t *testing.T) {
	const upstream = `{"Go": "1.25.0", "Godebug": [{"Key": "default", "Value": "go1.25"}], "Replace": [
		{"Old": {"Path": "k8s.io/api"}, "New": {"Path": "./staging/src/k8s.io/api"}},
		{"Old": {"Path": "example.com/fork"}, "New": {"Path": "example.com/forked", "Version": "v1.0.0"}}]}`
	bin := t.TempDir()
	script := "#!/bin/sh\necho '" + upstream + "'\n"
	if err := os.WriteFile(filepath.Join(bin, "go"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	file, err := module{dir: t.TempDir()}.read(t.Context(), "go.mod")
	if err != nil {
		t.Fatal(err)
	}
	want := `module github.com/kube-ipvs/kube-ipvs/e2e/controlplane

go 1.25.0

godebug default=go1.25
tool k8s.io/kubernetes/cmd/kubectl
require k8s.io/kubernetes v1.36.3
replace k8s.io/api => k8s.io/api v0.36.3
`
	got := string(goModText("v1.36.3", file, []string{"k8s.io/kubernetes/cmd/kubectl"}))
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
