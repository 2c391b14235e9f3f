// Command run builds a control plane and runs it until it is interrupted, for people and for what is not written in
// Go. See package cluster.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/cluster"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		if errors.Is(err, context.Canceled) {
			err = errors.New("interrupted")
		}
		fmt.Fprintln(os.Stderr, "lab:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	b, err := cluster.NewBuilder(os.Stderr)
	if err != nil {
		return err
	}
	f := flag.NewFlagSet("run", flag.ExitOnError)
	f.StringVar(&b.Version, "kubernetes", b.Version, "`version` of Kubernetes; default is $"+cluster.EnvVersion+", or else that of e2e/controlplane")
	besides := f.String("with", "", "`programs` to build besides, separated by commas: "+cluster.KubeProxy+","+cluster.Kubectl)
	buildOnly := f.Bool("build", false, "build only, and print where the programs are")
	controllers := f.String("controllers", "endpointslice-controller", "controllers to run, separated by commas")
	if err := f.Parse(args); err != nil {
		return err
	}
	programs, err := b.Build(ctx, split(*besides)...)
	if err != nil {
		return err
	}
	if *buildOnly {
		fmt.Println(programs.Dir)
		return nil
	}
	c, err := cluster.Start(ctx, cluster.Options{Binaries: programs, Controllers: split(*controllers)})
	if err != nil {
		return err
	}
	fmt.Printf("export KUBECONFIG=%s\n", c.AdminKubeconfig())
	fmt.Fprintf(os.Stderr, "lab: Kubernetes %s runs until it is interrupted; programs: %s\n", programs.Version, programs.Dir)
	<-ctx.Done()
	return c.Close()
}

// split returns a list that is empty, not nil, where there is nothing.
func split(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' })
}
