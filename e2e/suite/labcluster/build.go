package labcluster

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/cluster"
)

const project = "github.com/kube-ipvs/kube-ipvs"

// Where things are in the guest.
const (
	binDir      = "/usr/local/bin/"
	nextProgram = binDir + "kube-ipvs-next"
	adminFile   = "/lab/admin.kubeconfig"
	agentFile   = "/lab/agent.kubeconfig"
	proxyFile   = "/lab/proxy.kubeconfig"
)

// NextVersion is that of the agent's second program, which differs in nothing else.
const NextVersion = "next"

// programs is everything that is built.
type programs struct {
	root       string // of the project
	kubernetes cluster.Binaries
	kernel     lab.Kernel
	init       string
	dir        string
}

// prepare builds what is missing.
func (c *Cluster) prepare(ctx context.Context) (*programs, error) {
	var err error
	if c.dir, err = lab.NewTempDir("", "kube-ipvs-suite-"); err != nil {
		return nil, err
	}
	p := &programs{dir: c.dir.Path, init: filepath.Join(c.dir.Path, "init")}
	if p.root, err = projectRoot(ctx); err != nil {
		return nil, err
	}
	builder, err := cluster.NewBuilder(c.progress)
	if err != nil {
		return nil, err
	}
	if p.kubernetes, err = builder.Build(ctx, cluster.KubeProxy); err != nil {
		return nil, err
	}
	l, err := lab.New(c.progress)
	if err != nil {
		return nil, err
	}
	if p.kernel, err = l.Prepare(ctx, false); err != nil {
		return nil, err
	}
	for _, b := range []struct{ name, pkg, ldflags string }{
		{"init", "./e2e/lab/init", ""},
		{"nodes", "./e2e/lab/nodes/run", ""},
		{"kube-ipvs", "./cmd/kube-ipvs", ""},
		{"kube-ipvs-next", "./cmd/kube-ipvs", " -X main.version=" + NextVersion},
	} {
		c.say("building %s", b.name)
		if err := p.build(ctx, b.name, b.pkg, b.ldflags); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// build builds a program in the product's own module, so that it is made of the versions that are shipped.
func (p *programs) build(ctx context.Context, name, pkg, ldflags string) error {
	cmd := lab.GoCommand(ctx, p.dir, "build", "-ldflags", "-s -w"+ldflags, "-o", filepath.Join(p.dir, name), pkg)
	cmd.Dir = p.root
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", name, err, out)
	}
	return nil
}

// files are the programs in the guest.
func (p *programs) files() []lab.File {
	files := []lab.File{{Source: p.kubernetes.Path(cluster.KubeProxy), Dest: binDir + cluster.KubeProxy}}
	for _, name := range []string{"nodes", "kube-ipvs", "kube-ipvs-next"} {
		files = append(files, lab.File{Source: filepath.Join(p.dir, name), Dest: binDir + name})
	}
	return files
}

// projectRoot finds the product's module, of which this one is a part of the tree.
func projectRoot(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", project).Output()
	if err != nil {
		return "", fmt.Errorf("find the project's root: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}
