package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"

	"github.com/kube-ipvs/kube-ipvs/nodeaddr"
	"github.com/kube-ipvs/kube-ipvs/report"
	"github.com/kube-ipvs/kube-ipvs/sync"
	"github.com/kube-ipvs/kube-ipvs/sync/kube"
)

// planOptions are the flags of plan.
type planOptions struct {
	options
	nodeAddresses []string
	output        string
}

// exitSkipped says that some objects that claim a node port could not be used.
const exitSkipped exit = 2

func newPlan() *cobra.Command {
	o := &planOptions{}
	o.healthz, o.metrics = defaultHealthz, defaultMetrics // which it has no flags for: those ports are run's all the same
	input := newGroup("Input")
	input.flags.StringVar(&o.manifests, "manifests", "", "`file` or directory with Service, EndpointSlice and Node objects (YAML or JSON; - is standard input)")
	input.flags.StringVar(&o.nodeName, "node-name", "", "`name` of the node to plan for, as in its Node object")
	input.flags.StringSliceVar(&o.nodeAddresses, "node-addresses", nil, "the addresses that the node has, a `list` of IFACE=ADDR/LEN (default: the InternalIP addresses of its Node object)")
	input.flags.StringVar(&o.serviceProxyName, "service-proxy-name", "", "plan only Services whose label service.kubernetes.io/service-proxy-name has this `value`")
	out := outputGroup(&o.output, formatIPVSadm)
	cmd := &cobra.Command{
		Use:   "plan --manifests FILE|DIR|- --node-name NAME [flags]",
		Short: "Show what a node would serve, from manifests alone",
		Long: `Show what a node would serve: which of its addresses, with which real servers, and why not.

plan needs no cluster, no kernel and no privileges. Problems go to standard error. The exit code
is 0 if everything could be planned, 2 if some objects were skipped, 1 if the input is unusable.`,
		Example: `  kubectl get services,endpointslices,nodes -A -o yaml | kube-ipvs plan --manifests - --node-name node1
  kube-ipvs plan --manifests ./manifests --node-name node1 -o ipvsadm
  kube-ipvs plan --manifests all.yaml --node-name node1 --node-addresses eth0=10.1.0.10/24,eth1=10.2.0.10/24 \
    --nodeport-addresses primary,iface:eth1`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := errors.Join(configure(cmd, o.config), o.validate()); err != nil {
				return err
			}
			return o.run(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	addGroups(cmd, input, o.addressFlags(), o.trafficFlags(), o.choiceFlags(), o.schedulerFlags(), o.portFlags(), o.boundFlags(), out, o.configFlag())
	return cmd
}

// formatIPVSadm is what ipvsadm -R takes.
const formatIPVSadm = "ipvsadm"

// validate joins everything that is wrong with the flags of plan.
func (o *planOptions) validate() error {
	var errs []error
	if o.output != formatIPVSadm {
		if _, err := report.ParseFormat(o.output); err != nil {
			errs = append(errs, fmt.Errorf("%w, or %s", err, formatIPVSadm))
		}
	}
	if o.manifests == "" {
		errs = append(errs, errors.New("--manifests is missing: name a file or a directory, or - for standard input"))
	}
	if o.nodeName == "" {
		errs = append(errs, errors.New("--node-name is missing: plan shows what one node would serve"))
	}
	return errors.Join(append(errs, o.validatePlanning()...)...)
}

func (o *planOptions) run(ctx context.Context, stdin io.Reader, stdout, stderr io.Writer) error {
	p, err := o.plan(ctx, stdin)
	if err != nil {
		return err
	}
	skipped := false
	for _, problem := range p.problems {
		fmt.Fprintln(stderr, sync.Printable(problem.String()))
		skipped = skipped || problem.Skipped
	}
	if err := o.print(stdout, stderr, p); err != nil {
		return err
	}
	if skipped {
		return exitSkipped
	}
	return nil
}

func (o *planOptions) print(stdout, stderr io.Writer, p *plan) error {
	if o.output == formatIPVSadm {
		printNotInSave(stderr, p.state)
		return p.state.Table().Save(stdout)
	}
	return report.Write(stdout, report.Format(o.output), report.NewPlan(p.node, p.addresses, p.rejected, p.state))
}

// printNotInSave names the Services of which a table says less than the node does.
func printNotInSave(w io.Writer, s *sync.State) {
	var before sync.ServiceID
	for _, v := range s.View() {
		served := slices.ContainsFunc(v.Frontends, func(f sync.FrontendView) bool { return f.Served && f.Restricted })
		if served && v.Service != before {
			fmt.Fprintf(w, "Service %s: its source ranges are not in a table for ipvsadm, which lets everybody connect\n", sync.Printable(v.Service.String()))
			before = v.Service
		}
	}
}

// plan is what one node would serve.
type plan struct {
	node      string
	addresses []nodeaddr.Address // that serve
	rejected  []nodeaddr.Rejected
	state     *sync.State
	problems  []sync.Problem
}

func (o *planOptions) plan(ctx context.Context, stdin io.Reader) (*plan, error) {
	node, err := o.node()
	if err != nil {
		return nil, err
	}
	p := &plan{node: node, state: sync.NewState(o.defaults())}
	update, err := o.read(ctx, node, stdin)
	if err != nil {
		return nil, err
	}
	var object sync.Node
	if update.Node != nil {
		object = *update.Node
	}
	all, err := o.addressesOf(object)
	if err != nil {
		return nil, err
	}
	serving, rejected := o.spec.Select(all, object.Primary())
	p.rejected = rejected
	for _, a := range all {
		if slices.Contains(serving, a.Addr) {
			p.addresses = append(p.addresses, a)
		}
	}
	p.state.Update(update)
	p.state.SetPodsKnown(o.podsKnown(object))
	p.state.SetPlaces(nodeaddr.Places(serving, all, object.Primary(), nil))
	p.state.Resolve()
	p.problems = p.state.Problems()
	return p, nil
}

// read takes everything in, once.
func (o *planOptions) read(ctx context.Context, node string, stdin io.Reader) (sync.Update, error) {
	if o.manifests != "" {
		return kube.ReadManifests(o.manifests, stdin, o.translation(node))
	}
	client, host, err := kube.NewClient(o.kubeconfig, version)
	if err != nil {
		return sync.Update{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	source := kube.NewInformers(client, o.translation(node), logr.Discard())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = source.Run(ctx) // what goes wrong is told by the time running out
	}()
	defer func() {
		cancel()
		<-ended
	}()
	for {
		if u, ok := source.Next(); ok {
			return u, nil
		}
		select {
		case <-source.Changed():
		case <-ctx.Done():
			return sync.Update{}, fmt.Errorf("%s did not list Services, EndpointSlices and Nodes within %s: may this user list them?", host, readTimeout)
		}
	}
}

// readTimeout bounds reading an API server once.
const readTimeout = 30 * time.Second

// addressesOf are the addresses that the node has: those given, or else what its Node object says.
func (o *planOptions) addressesOf(node sync.Node) ([]nodeaddr.Address, error) {
	if len(o.nodeAddresses) > 0 {
		addrs, err := nodeaddr.ParseStatic(o.nodeAddresses)
		if err != nil {
			return nil, fmt.Errorf("--node-addresses: %w", err)
		}
		return addrs, nil
	}
	from := slices.Clone(node.InternalIPs)
	for _, a := range node.Primary() {
		if !slices.Contains(from, a) {
			from = append(from, a)
		}
	}
	addrs := make([]nodeaddr.Address, 0, len(from))
	for _, a := range from {
		addrs = append(addrs, nodeaddr.Address{Addr: a, PrefixLen: a.BitLen()})
	}
	return addrs, nil
}

func describe(a nodeaddr.Address) string {
	if a.Interface == "" {
		return a.Addr.String()
	}
	return fmt.Sprintf("%s (%s)", a.Addr, a.Interface)
}
