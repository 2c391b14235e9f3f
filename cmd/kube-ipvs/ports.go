package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kube-ipvs/kube-ipvs/report"
	"github.com/kube-ipvs/kube-ipvs/sync"
)

// portsOptions are the flags of ports.
type portsOptions struct {
	planOptions
	suggest int
	// socket is that of the agent.
	socket string
}

func newPorts() *cobra.Command {
	o := &portsOptions{}
	o.healthz, o.metrics = defaultHealthz, defaultMetrics // which it has no flags for: those ports are run's all the same
	input := newGroup("Input")
	input.flags.StringVar(&o.kubeconfig, "kubeconfig", "", "`file` with the address and credentials of an API server to read; without it, and without --manifests, the agent that runs on this node is asked")
	input.flags.StringVar(&o.manifests, "manifests", "", "`file` or directory with Service and Node objects (YAML or JSON; - is standard input)")
	input.flags.StringVar(&o.nodeName, "node-name", "", "`name` of the node, as in its Node object; for --kubeconfig and --manifests")
	input.flags.StringSliceVar(&o.nodeAddresses, "node-addresses", nil, "the addresses that the node has, a `list` of IFACE=ADDR/LEN (default: the InternalIP addresses of its Node object)")
	input.flags.StringVar(&o.serviceProxyName, "service-proxy-name", "", "look only at Services whose label service.kubernetes.io/service-proxy-name has this `value`")
	input.flags.StringVar(&o.socket, "agent-socket", socketName, "`name` of the socket on which the agent answers")
	_ = input.flags.MarkHidden("agent-socket") // it is there: for tests, which have an agent of their own each
	out := outputGroup(&o.output)
	out.flags.IntVar(&o.suggest, "suggest", 0, "print this `number` of free ports of the static band instead, lowest first")
	cmd := &cobra.Command{
		Use:   "ports [--kubeconfig FILE | --manifests FILE|DIR|-] [flags]",
		Short: "Show who has which port of a node, and which are free",
		Long: `Show who has which port of a node, by what right, and who wants it too: node ports, ports of health
checks, extra ports, programs of the node that listen on one of them.

Without a source it asks the agent that runs on this node, which knows the programs. From an API server or
from manifests it shows what the node would do. The exit code is 2 if a port is claimed twice or is in use,
or if some objects were skipped.`,
		Example: `  kube-ipvs ports
  kube-ipvs ports --kubeconfig admin.conf --node-name node1 -o json
  kube-ipvs ports --manifests services.yaml --node-name node1 --suggest 3`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			written := flagsOfSources(cmd.Flags())
			if err := errors.Join(configure(cmd, o.config), o.validate(written)); err != nil {
				return err
			}
			return o.run(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	addGroups(cmd, input, o.addressFlags(), o.trafficFlags(), o.choiceFlags(), o.schedulerFlags(), o.portFlags(), o.boundFlags(), out, o.configFlag())
	return cmd
}

// validate joins everything that is wrong with the flags of ports, of which those written say something of a source.
func (o *portsOptions) validate(written []string) error {
	if !o.planned() && len(written) > 0 {
		return fmt.Errorf("%s: the agent on this node answers by its own flags; with --kubeconfig or --manifests these count", strings.Join(written, ", "))
	}
	var errs []error
	if _, err := report.ParseFormat(o.output); err != nil {
		errs = append(errs, err)
	}
	if o.suggest < 0 {
		errs = append(errs, fmt.Errorf("--suggest: %d is not a number of ports", o.suggest))
	}
	if o.manifests != "" && o.kubeconfig != "" {
		errs = append(errs, errors.New("--kubeconfig and --manifests: choose one of the two sources"))
	}
	if o.planned() && o.nodeName == "" {
		errs = append(errs, errors.New("--node-name is missing: ports are those of one node"))
	}
	return errors.Join(append(errs, o.validatePlanning()...)...)
}

func (o *portsOptions) run(ctx context.Context, stdin io.Reader, stdout, stderr io.Writer) error {
	answer, problems, err := o.answer(ctx, stdin)
	if err != nil {
		return err
	}
	skipped := false
	for _, problem := range problems {
		of, _, _ := strings.Cut(problem.Object, " ")
		switch {
		case problem.Reason == sync.Conflict, problem.Reason == sync.PortInUse: // which the table says
		case problem.Skipped, of != "Service" && of != "EndpointSlice": // a port, or all of them, may be missing
			fmt.Fprintln(stderr, sync.Printable(problem.String()))
			skipped = skipped || problem.Skipped
		}
	}
	if err := o.print(answer, stdout, stderr); err != nil {
		return err
	}
	if skipped {
		return exitSkipped
	}
	return nil
}

// planned reports whether there is a source to plan from, rather than an agent to ask.
func (o *portsOptions) planned() bool { return o.manifests != "" || o.kubeconfig != "" }

// flagsOfSources are those on the command line that say something of a source, or of a node that is planned.
func flagsOfSources(flags *pflag.FlagSet) []string {
	var names []string
	flags.Visit(func(f *pflag.Flag) {
		if !slices.Contains([]string{"agent-socket", "output", "suggest", "config"}, f.Name) {
			names = append(names, "--"+f.Name)
		}
	})
	return names
}

// answer is what the agent says, or what a plan comes to, with its problems.
func (o *portsOptions) answer(ctx context.Context, stdin io.Reader) (report.Ports, []sync.Problem, error) {
	if !o.planned() {
		var answer report.Ports
		err := askAgent(ctx, o.socket, fmt.Sprintf("/ports?suggest=%d", o.suggest), &answer)
		if errors.Is(err, errNoAgent) {
			err = fmt.Errorf("%w --kubeconfig and --manifests do without one", err)
		}
		return answer, nil, err
	}
	p, err := o.plan(ctx, stdin)
	if err != nil {
		return report.Ports{}, nil, err
	}
	return report.NewPorts(p.node, p.state.ViewPorts(), o.suggest), p.problems, nil
}

func (o *portsOptions) print(answer report.Ports, stdout, stderr io.Writer) error {
	format := report.Format(o.output)
	if o.suggest > 0 && (format == report.Table || format == report.Wide) {
		return o.printSuggested(answer.Suggest, stdout, stderr)
	}
	if err := report.Write(stdout, format, answer); err != nil {
		return err
	}
	if slices.ContainsFunc(answer.Ports, report.PortUse.Contested) {
		return exitSkipped
	}
	return nil
}

// printSuggested is for scripts that want a number.
func (o *portsOptions) printSuggested(free []uint16, stdout, stderr io.Writer) error {
	if len(free) < o.suggest {
		fmt.Fprintf(stderr, "the static band has %d free ports, not %d\n", len(free), o.suggest)
	}
	for _, port := range free {
		fmt.Fprintln(stdout, port)
	}
	if len(free) < o.suggest {
		return exitSkipped
	}
	return nil
}
