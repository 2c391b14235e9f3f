package cluster

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const (
	project          = "github.com/kube-ipvs/kube-ipvs"
	kubernetesModule = "k8s.io/kubernetes"
	etcdServer       = "go.etcd.io/etcd/server/v3"

	modulePrefix = "module-" // of the names of modules in the cache
)

// module is a Go module in which the programs are tools.
type module struct {
	version string // of Kubernetes
	dir     string
	tools   []string // packages
}

func (m module) exists() bool {
	_, err := os.Stat(m.dir)
	return err == nil
}

// module returns the module for the version that is asked for. It is e2e/controlplane for the version there; another
// one has a module of its own in the cache, which may have to be completed.
func (b *Builder) module(ctx context.Context) (module, error) {
	root, err := moduleDir(ctx)
	if err != nil {
		return module{}, err
	}
	pinned := module{dir: filepath.Join(root, "e2e", "controlplane")}
	file, err := pinned.read(ctx, "go.mod")
	if err != nil {
		return module{}, err
	}
	for _, r := range file.Require {
		if r.Path == kubernetesModule {
			pinned.version = r.Version
		}
	}
	if b.Version == "" || b.Version == pinned.version {
		return pinned, nil
	}
	if !strings.HasPrefix(b.Version, "v1.") {
		return module{}, fmt.Errorf("kubernetes version %q is not like %s", b.Version, pinned.version)
	}
	other := module{version: b.Version}
	for _, t := range file.Tool {
		other.tools = append(other.tools, t.Path)
	}
	tools := sha256.Sum256([]byte(strings.Join(other.tools, " "))) // with another tool, go.sum lacks what it needs
	other.dir = filepath.Join(b.Cache, modulePrefix+b.Version+"-"+hex.EncodeToString(tools[:4]))
	use(other.dir)
	return other, nil
}

// complete makes the module, if it does not exist.
func (b *Builder) complete(ctx context.Context, m module) error {
	if m.exists() {
		return nil
	}
	fmt.Fprintf(b.Progress, "lab: resolving the modules of Kubernetes %s\n", m.version)
	if err := b.writeModule(ctx, m); err != nil {
		return fmt.Errorf("make a module for Kubernetes %s: %w", m.version, err)
	}
	return nil
}

// moduleDir returns the root of this project. It works anywhere below it.
func moduleDir(ctx context.Context) (string, error) {
	out, err := (&module{}).output(ctx, "list", "-m", "-f", "{{.Dir}}", project)
	if err != nil {
		return "", fmt.Errorf("find the project's root: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// goMod is what `go mod edit -json` says.
type goMod struct {
	Go      string
	Godebug []struct{ Key, Value string }
	Require []struct{ Path, Version string }
	Replace []struct {
		Old, New struct{ Path, Version string }
	}
	Tool []struct{ Path string }
}

func (m module) read(ctx context.Context, file string) (goMod, error) {
	out, err := m.output(ctx, "mod", "edit", "-json", file)
	if err != nil {
		return goMod{}, err
	}
	var g goMod
	if err := json.Unmarshal(out, &g); err != nil {
		return goMod{}, fmt.Errorf("read %s: %w", file, err)
	}
	return g, nil
}

// writeModule makes the module of a version as e2e/controlplane is made: every staging module, which upstream replaces
// by a path, is replaced by its release.
func (b *Builder) writeModule(ctx context.Context, m module) error {
	tmp, err := os.MkdirTemp(b.Cache, unfinished)
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	w := module{dir: tmp}
	file, err := w.output(ctx, "list", "-m", "-mod=mod", "-f", "{{.GoMod}}", kubernetesModule+"@"+m.version)
	if err != nil {
		return err
	}
	upstream, err := w.read(ctx, strings.TrimSpace(string(file)))
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(tmp, "go.mod"), goModText(m.version, upstream, m.tools), 0o644); err != nil {
		return err
	}
	if _, err := w.output(ctx, "mod", "tidy"); err != nil {
		return err
	}
	return os.Rename(tmp, m.dir)
}

// goModText writes a go.mod that `go mod tidy` completes.
func goModText(version string, upstream goMod, tools []string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "module %s/e2e/controlplane\n\ngo %s\n\n", project, upstream.Go)
	for _, g := range upstream.Godebug {
		fmt.Fprintf(&b, "godebug %s=%s\n", g.Key, g.Value)
	}
	for _, t := range tools {
		fmt.Fprintf(&b, "tool %s\n", t)
	}
	fmt.Fprintf(&b, "require %s %s\n", kubernetesModule, version)
	for _, r := range upstream.Replace {
		if strings.HasPrefix(r.New.Path, "./staging/") {
			fmt.Fprintf(&b, "replace %s => %s v0.%s\n", r.Old.Path, r.Old.Path, strings.TrimPrefix(version, "v1."))
		}
	}
	return b.Bytes()
}

func (module) packageOf(program string) string {
	if program == etcd {
		return etcdServer
	}
	return kubernetesModule + "/cmd/" + program
}

// environment is what the build depends on. One set for all: with another each package is compiled again.
func (module) environment() []string {
	return []string{"CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=-buildvcs=false -trimpath"}
}

// ldflags stamps the version, without which clients cannot read it. The date is fixed: one that changes links anew.
func (m module) ldflags() string {
	major, rest, _ := strings.Cut(strings.TrimPrefix(m.version, "v"), ".")
	minor, _, _ := strings.Cut(rest, ".")
	flags := []string{"-s", "-w"}
	for _, pkg := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
		for _, stamp := range []string{
			"gitVersion=" + m.version, "gitMajor=" + major, "gitMinor=" + minor,
			"gitCommit=module", "gitTreeState=clean", "buildDate=2026-01-01T00:00:00Z",
		} {
			flags = append(flags, "-X "+pkg+"."+stamp)
		}
	}
	return strings.Join(flags, " ")
}

func (m module) command(args ...string) *exec.Cmd {
	cmd := exec.Command("go", args...)
	cmd.Dir = m.dir
	cmd.Env = append(os.Environ(), m.environment()...)
	return cmd
}

// output runs a go command and returns what it printed.
func (m module) output(ctx context.Context, args ...string) ([]byte, error) {
	var out, complaints bytes.Buffer
	cmd := m.command(args...)
	cmd.Stdout, cmd.Stderr = &out, &complaints
	if err := runToEnd(ctx, cmd); err != nil {
		return nil, fmt.Errorf("go %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(complaints.Bytes()))
	}
	return out.Bytes(), nil
}
