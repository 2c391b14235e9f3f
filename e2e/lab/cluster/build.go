package cluster

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Programs of a control plane.
const (
	etcd              = "etcd"
	apiServer         = "kube-apiserver"
	controllerManager = "kube-controller-manager"
)

// Programs that can be built beside them.
const (
	KubeProxy = "kube-proxy"
	Kubectl   = "kubectl"
)

// EnvVersion is the environment variable that chooses another Kubernetes version than e2e/controlplane does.
const EnvVersion = "KUBERNETES_VERSION"

// Binaries are the programs of one Kubernetes version.
type Binaries struct {
	Version string // v1.37.1
	Dir     string
}

// Path returns where a program is.
func (b Binaries) Path(program string) string { return filepath.Join(b.Dir, program) }

// Builder builds control planes.
type Builder struct {
	Version  string    // of Kubernetes, such as v1.37.1; "" is that of e2e/controlplane
	Cache    string    // directory for what was built, outside the tree
	Progress io.Writer // is told what takes time
}

// NewBuilder returns a Builder that keeps its programs in the user's cache directory, of the version that the
// environment asks for.
func NewBuilder(progress io.Writer) (*Builder, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, fmt.Errorf("find cache directory: %w", err)
	}
	return &Builder{
		Version:  os.Getenv(EnvVersion),
		Cache:    filepath.Join(cache, "kube-ipvs", "controlplane"),
		Progress: progress,
	}, nil
}

// Build builds the control plane and the programs named besides, as far as the cache lacks them. With nothing to build
// it works offline and waits for nobody. What an interrupted build has finished stays, and nothing half.
func (b *Builder) Build(ctx context.Context, besides ...string) (Binaries, error) {
	programs := append([]string{etcd, apiServer, controllerManager}, besides...)
	m, err := b.module(ctx)
	if err != nil {
		return Binaries{}, err
	}
	built, missing, err := b.look(ctx, m, programs)
	if err != nil || len(missing) == 0 {
		return built, err
	}
	unlock, err := b.lock(ctx)
	if err != nil {
		return Binaries{}, err
	}
	defer unlock()
	if err := b.prune(time.Now()); err != nil {
		return Binaries{}, err
	}
	if err := b.complete(ctx, m); err != nil {
		return Binaries{}, err
	}
	// Somebody else may have built them meanwhile.
	if built, missing, err = b.look(ctx, m, programs); err != nil {
		return Binaries{}, err
	}
	for i, program := range missing {
		if i == 0 {
			fmt.Fprintf(b.Progress, "lab: building Kubernetes %s; the first time takes about ten minutes on two cores\n", m.version)
		}
		step := fmt.Sprintf("%s (%d of %d)", program, i+1, len(missing))
		if err := b.build(ctx, m, program, built.Path(program), step); err != nil {
			return Binaries{}, err
		}
	}
	return built, nil
}

// look returns where the programs are or will be, and which of them are missing.
func (b *Builder) look(ctx context.Context, m module, programs []string) (built Binaries, missing []string, err error) {
	if !m.exists() {
		return Binaries{}, programs, nil
	}
	dir, err := b.directory(ctx, m)
	if err != nil {
		return Binaries{}, nil, err
	}
	use(dir)
	built = Binaries{Version: m.version, Dir: dir}
	for _, program := range programs {
		if !whole(built.Path(program)) {
			missing = append(missing, program)
		}
	}
	return built, missing, nil
}

// whole reports whether a file may be what a build made. A machine that lost its power, or a cache that was carried from
// elsewhere, may have it empty or no program, and it would be trusted for good.
func whole(program string) bool {
	info, err := os.Stat(program)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o100 != 0 && info.Size() > 0
}

// directory returns the directory whose name stands for everything that the programs depend on.
func (b *Builder) directory(ctx context.Context, m module) (string, error) {
	goVersion, err := m.output(ctx, "env", "GOVERSION")
	if err != nil {
		return "", err
	}
	h := sha256.New()
	fmt.Fprintln(h, strings.TrimSpace(string(goVersion)), m.environment(), m.ldflags())
	for _, name := range []string{"go.mod", "go.sum"} {
		content, err := os.ReadFile(filepath.Join(m.dir, name))
		if err != nil {
			return "", fmt.Errorf("read module of the control plane: %w", err)
		}
		fmt.Fprintf(h, "%s %d\n%s", name, len(content), content)
	}
	return filepath.Join(b.Cache, m.version+"-"+hex.EncodeToString(h.Sum(nil)[:6])), nil
}

// build builds one program into a file that is there whole or not at all.
func (b *Builder) build(ctx context.Context, m module, program, file, step string) error {
	tmp, err := os.MkdirTemp(b.Cache, unfinished)
	if err != nil {
		return fmt.Errorf("build %s: %w", program, err)
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	p := startProgress(b.Progress, step)
	defer p.stop()
	unnamed := filepath.Join(tmp, program)
	cmd := m.command("build", "-v", "-ldflags", m.ldflags(), "-o", unnamed, m.packageOf(program))
	cmd.Env = append(cmd.Env, "GOTMPDIR="+tmp)
	cmd.Stderr = p
	if err := runToEnd(ctx, cmd); err != nil {
		return fmt.Errorf("build %s: %w\n%s", program, err, p.complaints())
	}
	info, err := os.Stat(unnamed)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(file), 0o755)
	}
	if err == nil {
		err = os.Rename(unnamed, file)
	}
	if err != nil {
		return fmt.Errorf("build %s: %w", program, err)
	}
	fmt.Fprintf(b.Progress, "lab: built %s in %v: %d MB\n", step, p.elapsed().Round(time.Second), info.Size()/1e6)
	return nil
}
