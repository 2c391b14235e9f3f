package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/kube-ipvs/kube-ipvs/e2e/bench/job"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/cluster"
)

const binDir = "/usr/local/bin/"

// programs is everything that is built and installed.
type programs struct {
	kubernetes cluster.Binaries
	kernel     lab.Kernel
	init       string
	files      []lab.File
	versions   map[string]string
}

// prepare builds and installs what is missing.
func (b *bench) prepare(ctx context.Context) (*programs, error) {
	p := &programs{init: filepath.Join(b.dir.Path, "init"), versions: map[string]string{}}
	builder, err := cluster.NewBuilder(b.progress)
	if err != nil {
		return nil, err
	}
	if p.kubernetes, err = builder.Build(ctx, cluster.KubeProxy); err != nil {
		return nil, err
	}
	l, err := lab.New(b.progress)
	if err != nil {
		return nil, err
	}
	if p.kernel, err = l.Prepare(ctx, false); err != nil {
		return nil, err
	}
	if err := p.needTools(ctx, l); err != nil {
		return nil, err
	}
	version := describe(ctx)
	for _, program := range []struct{ name, pkg, ldflags string }{
		{"init", "./e2e/lab/init", ""},
		{job.Program, "./e2e/bench/guest", ""},
		{"kube-ipvs", "./cmd/kube-ipvs", " -X main.version=" + version},
	} {
		b.say("building %s", program.name)
		file := filepath.Join(b.dir.Path, program.name)
		cmd := lab.GoCommand(ctx, b.dir.Path, "build", "-trimpath", "-ldflags", "-s -w"+program.ldflags, "-o", file, program.pkg)
		if out, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("build %s: %w\n%s", program.name, err, out)
		}
		if program.name != "init" {
			p.files = append(p.files, lab.File{Source: file, Dest: binDir + program.name})
		}
	}
	p.files = append(p.files, lab.File{Source: p.kubernetes.Path(cluster.KubeProxy), Dest: binDir + cluster.KubeProxy})
	p.versions["kube-ipvs"], p.versions["kubernetes"], p.versions["go"] = version, p.kubernetes.Version, runtime.Version()
	return p, nil
}

// needTools adds what kube-proxy executes in IPVS mode. iptables is the one of nftables, as in kube-proxy's own image and in Debian.
func (p *programs) needTools(ctx context.Context, l *lab.Lab) error {
	xtables, err := l.Need(ctx, "xtables-nft-multi", "iptables", "is executed by kube-proxy in IPVS mode")
	if err != nil {
		return err
	}
	for _, name := range []string{
		"iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore", // what it is called as says what it does
	} {
		p.files = append(p.files, lab.File{Source: xtables, Dest: "/usr/sbin/" + name})
	}
	p.files = append(p.files, lab.File{Source: extensions, Dest: extensions})
	ipset, err := l.Need(ctx, "ipset", "ipset", "is executed by kube-proxy in IPVS mode")
	if err != nil {
		return err
	}
	p.files = append(p.files, lab.File{Source: ipset, Dest: "/usr/sbin/ipset"})
	for name, args := range map[string][]string{
		"iptables": {"iptables", "--version"}, "ipset": {"ipset", "--version"}, "nft": {"nft", "--version"}, "ipvsadm": {"ipvsadm", "--version"},
	} {
		cmd := exec.CommandContext(ctx, args[0], args[1:]...)
		cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
		if cmd.Err != nil { // not in a user's PATH
			cmd.Path, cmd.Err = "/usr/sbin/"+args[0], nil
		}
		out, err := cmd.Output()
		if err != nil {
			return fmt.Errorf("version of %s: %w", name, err)
		}
		p.versions[name] = number(string(out))
	}
	return nil
}

// extensions are those of iptables, which it loads.
const extensions = "/usr/lib/x86_64-linux-gnu/xtables"

// number is the first word that looks like a version.
func number(text string) string {
	for word := range strings.FieldsSeq(text) {
		word = strings.Trim(word, "v,()")
		if word != "" && word[0] >= '0' && word[0] <= '9' && strings.Contains(word, ".") {
			return word
		}
	}
	return strings.TrimSpace(text)
}

// describe is the version of the tree.
func describe(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "git", "describe", "--tags", "--always", "--dirty").Output()
	if err != nil {
		return "dev"
	}
	return strings.TrimSpace(string(out))
}
