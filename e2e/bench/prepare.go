package main

import (
	"context"
	"fmt"
	"os/exec"
	"strings"

	"github.com/kube-ipvs/kube-ipvs/e2e/bench/job"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/cluster"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/experiment"
)

// prepare builds and installs what is missing.
func (b *bench) prepare(ctx context.Context) (err error) {
	b.Experiment, err = experiment.Prepare(ctx, experiment.Plan{
		Name: "bench", Program: job.Program, Package: "./e2e/bench/guest", Job: job.Path, Admin: job.Admin,
		Kubernetes: []string{cluster.KubeProxy}, Progress: b.progress,
	})
	if err != nil {
		return err
	}
	b.Files = append(b.Files, lab.File{Source: b.Kubernetes.Path(cluster.KubeProxy), Dest: experiment.BinDir + cluster.KubeProxy})
	return b.needTools(ctx)
}

// needTools adds what kube-proxy executes in IPVS mode. iptables is the one of nftables, as in kube-proxy's own image and in Debian.
func (b *bench) needTools(ctx context.Context) error {
	xtables, err := b.Lab.Need(ctx, "xtables-nft-multi", "iptables", "is executed by kube-proxy in IPVS mode")
	if err != nil {
		return err
	}
	for _, name := range []string{
		"iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore", // what it is called as says what it does
	} {
		b.Files = append(b.Files, lab.File{Source: xtables, Dest: "/usr/sbin/" + name})
	}
	b.Files = append(b.Files, lab.File{Source: extensions, Dest: extensions})
	ipset, err := b.Lab.Need(ctx, "ipset", "ipset", "is executed by kube-proxy in IPVS mode")
	if err != nil {
		return err
	}
	b.Files = append(b.Files, lab.File{Source: ipset, Dest: "/usr/sbin/ipset"})
	for name, pkg := range map[string]string{"iptables": "iptables", "ipset": "ipset", "nft": "nftables", "ipvsadm": "ipvsadm"} {
		// ipvsadm asks the kernel before it says its version, and this one may have no IPVS.
		out, err := exec.CommandContext(ctx, "dpkg-query", "-W", "-f", "${Version}", pkg).Output()
		if err != nil {
			return fmt.Errorf("version of %s: %w", name, err)
		}
		b.Versions[name] = strings.TrimSpace(string(out))
	}
	return nil
}

// extensions are those of iptables, which it loads.
const extensions = "/usr/lib/x86_64-linux-gnu/xtables"
