// Command run is the nodes of a cluster, inside a guest: see package nodes.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/nodes"
)

func main() {
	var o nodes.Options
	flag.StringVar(&o.Kubeconfig, "kubeconfig", "", "an administrator's kubeconfig, for the kubelets")
	flag.StringVar(&o.AgentKubeconfig, "agent-kubeconfig", "", "that of the agents")
	flag.StringVar(&o.ProxyKubeconfig, "proxy-kubeconfig", "", "that of kube-proxy")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := nodes.Serve(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "nodes:", err)
		stop()
		os.Exit(1)
	}
}
