package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kube-ipvs/kube-ipvs/nodeaddr"
	"github.com/kube-ipvs/kube-ipvs/report"
	"github.com/kube-ipvs/kube-ipvs/sync"
)

// viewOptions are the flags of commands that show what an agent does, or what one would do.
type viewOptions struct {
	planOptions
	// socket is that of the agent.
	socket string
}

// exitTrouble says that the command did what it was told, and that not all is well with what it shows.
const exitTrouble exit = 2

// sourceGroup are the flags that do without an agent.
func (o *viewOptions) sourceGroup() group {
	g := newGroup("Without an agent")
	g.flags.StringVar(&o.kubeconfig, "kubeconfig", "", "`file` with the address and credentials of an API server to read; without it, and without --manifests, the agent that runs on this node is asked")
	g.flags.StringVar(&o.manifests, "manifests", "", "`file` or directory with Service, EndpointSlice and Node objects (YAML or JSON; - is standard input)")
	g.flags.StringVar(&o.nodeName, "node-name", "", "`name` of the node, as in its Node object; for --kubeconfig and --manifests")
	g.flags.StringSliceVar(&o.nodeAddresses, "node-addresses", nil, "the addresses that the node has, a `list` of IFACE=ADDR/LEN (default: the InternalIP addresses of its Node object)")
	g.flags.StringVar(&o.serviceProxyName, "service-proxy-name", "", "look only at Services whose label service.kubernetes.io/service-proxy-name has this `value`")
	return g
}

// agentGroup is the socket.
func (o *viewOptions) agentGroup() group {
	g := newGroup("Agent")
	g.flags.StringVar(&o.socket, "agent-socket", socketName, "`name` of the socket on which the agent answers")
	_ = g.flags.MarkHidden("agent-socket") // it is there: for tests, which have an agent of their own each
	return g
}

// planningGroups are all flags of a command that can plan by itself.
func (o *viewOptions) planningGroups() []group {
	o.healthz, o.metrics = defaultHealthz, defaultMetrics // which it has no flags for: those ports are run's all the same
	return []group{o.sourceGroup(), o.addressFlags(), o.trafficFlags(), o.choiceFlags(), o.schedulerFlags(), o.portFlags(), o.boundFlags(), outputGroup(&o.output), o.agentGroup(), o.configFlag()}
}

// planned reports whether there is a source to plan from, rather than an agent to ask.
func (o *viewOptions) planned() bool { return o.manifests != "" || o.kubeconfig != "" }

// prepare takes in the --config file and checks the flags, all at once.
func (o *viewOptions) prepare(cmd *cobra.Command) error {
	written := flagsOfView(cmd.Flags())
	errs := []error{configure(cmd, o.config)}
	if _, err := report.ParseFormat(o.output); err != nil {
		errs = append(errs, err)
	}
	if !o.planned() && len(written) > 0 {
		errs = append(errs, fmt.Errorf("%s: the agent on this node answers by its own flags; with --kubeconfig or --manifests these count", strings.Join(written, ", ")))
	}
	if o.manifests != "" && o.kubeconfig != "" {
		errs = append(errs, errors.New("--kubeconfig and --manifests: choose one of the two sources"))
	}
	if o.planned() && o.nodeName == "" {
		errs = append(errs, errors.New("--node-name is missing: what is served is that of one node"))
	}
	if o.planned() {
		errs = append(errs, o.validatePlanning()...)
	}
	return errors.Join(errs...)
}

// flagsOfView are those on the command line that say something of a source, or of a node that is planned.
func flagsOfView(flags *pflag.FlagSet) []string {
	var names []string
	flags.Visit(func(f *pflag.Flag) {
		if !slices.Contains([]string{"agent-socket", "output", "config"}, f.Name) {
			names = append(names, "--"+f.Name)
		}
	})
	return names
}

// overviewOfPlan is what the node would do.
func (o *viewOptions) overviewOfPlan(ctx context.Context, stdin io.Reader, stderr io.Writer) (*sync.Overview, error) {
	p, err := o.plan(ctx, stdin)
	if err != nil {
		return nil, err
	}
	for _, problem := range p.problems { // of what was read, and of the node: those of Services are told with them
		if of, _, _ := strings.Cut(problem.Object, " "); of != "Service" {
			fmt.Fprintln(stderr, sync.Printable(problem.String()))
		}
	}
	all := slices.Clone(p.addresses)
	for _, r := range p.rejected {
		all = append(all, r.Address)
	}
	return sync.NewOverview(p.state, all, p.rejected), nil
}

// write prints a document in the format that was asked for, and ends with exitTrouble if not all is well.
func (o *viewOptions) write(w io.Writer, document report.Tabler, trouble bool) error {
	if err := report.Write(w, report.Format(o.output), document); err != nil {
		return err
	}
	if trouble {
		return exitTrouble
	}
	return nil
}

// ownAddresses are those of this node; none if they cannot be read.
func ownAddresses(ctx context.Context) []nodeaddr.Address {
	all, err := localAddresses(ctx)
	if err != nil {
		return nil
	}
	return all
}

// thisNode is what this machine calls itself, for who asks where no agent knows the name of the Node.
func thisNode() string {
	name, err := os.Hostname()
	if err != nil {
		return "?"
	}
	return name
}
