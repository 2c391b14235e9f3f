package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/report"
	"github.com/kube-ipvs/kube-ipvs/sync"
)

func newExplain() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "explain service NAMESPACE/NAME | address ADDRESS:PORT",
		Short: "Show why something is served as it is, or is not",
		Long: `Show the whole chain from a Service, or from an address and port of this node, to the connections that the kernel
has now: ports, networks, addresses, owners, endpoints and the reason for which each is used or not, virtual servers, and what to do
about problems.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newExplainService(), newExplainAddress())
	return cmd
}

func newExplainService() *cobra.Command {
	o := &viewOptions{}
	cmd := &cobra.Command{
		Use:     "service NAMESPACE/NAME [flags]",
		Aliases: []string{"svc"},
		Short:   "Show what becomes of a Service on this node, and why",
		Long: `Show what becomes of a Service on this node, and why: on which addresses it is served, who owns its ports, which of its
endpoints are used, what the kernel has, and what to do about its problems. Without a namespace it is that of default.

It asks the agent that runs on this node. From an API server or from manifests it shows what the node would do. The exit code is 0 if
the Service is served, 2 if it is not, or not entirely, or if it has problems.`,
		Example: `  kube-ipvs explain service shop/web
  kube-ipvs explain service shop/web -o wide
  kube-ipvs explain service shop/web --manifests all.yaml --node-name node1`,
		Args: oneArg("the Service as NAMESPACE/NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, idErr := parseService(args[0])
			if err := errors.Join(idErr, o.prepare(cmd)); err != nil {
				return err
			}
			return o.explainService(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr(), id)
		},
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			var names []string
			ctx, cancel := context.WithTimeout(cmd.Context(), completeWithin)
			defer cancel()
			_ = askAgent(ctx, o.socket, "/services", &names) // without an agent there is nothing to offer
			return names, cobra.ShellCompDirectiveNoFileComp
		},
	}
	addGroups(cmd, o.planningGroups()...)
	return cmd
}

// completeWithin is how long somebody waits who pressed the tab key.
const completeWithin = 2 * time.Second

func newExplainAddress() *cobra.Command {
	o := &viewOptions{}
	cmd := &cobra.Command{
		Use:   "address ADDRESS:PORT[/PROTOCOL] [flags]",
		Short: "Show what answers on an address and port of this node, and why nothing else does",
		Long: `Show what answers on an address and port of this node: the Service that has it, the endpoints behind it, the virtual server in
the kernel; or why nothing does.

It asks the agent that runs on this node; where none answers, the kernel alone. From an API server or from manifests it shows what the
node would do. The exit code is 0 if the address is served there, 2 if it is not, or not entirely.`,
		Example: `  kube-ipvs explain address 10.1.0.10:30080
  kube-ipvs explain address [fd01::10]:30053/udp -o json`,
		Args: oneArg("the address as ADDRESS:PORT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, _, addrErr := parseAddressPort(args[0])
			if err := errors.Join(addrErr, o.prepare(cmd)); err != nil {
				return err
			}
			return o.explainAddress(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr(), args[0])
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	addGroups(cmd, o.planningGroups()...)
	return cmd
}

// oneArg refuses command lines without just one argument.
func oneArg(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 {
			return fmt.Errorf("%d arguments: give %s (see %s --help)", len(args), what, cmd.CommandPath())
		}
		return nil
	}
}

// parseService reads NAMESPACE/NAME, or NAME in the namespace default.
func parseService(text string) (sync.ServiceID, error) {
	namespace, name, both := strings.Cut(text, "/")
	if !both {
		namespace, name = "default", text
	}
	if namespace == "" || name == "" || strings.Contains(name, "/") {
		return sync.ServiceID{}, fmt.Errorf("%q: write NAMESPACE/NAME, for example shop/web", text)
	}
	return sync.ServiceID{Namespace: namespace, Name: name}, nil
}

func (o *viewOptions) explainService(ctx context.Context, stdin io.Reader, stdout, stderr io.Writer, id sync.ServiceID) error {
	var e report.Explanation
	if o.planned() {
		overview, err := o.overviewOfPlan(ctx, stdin, stderr)
		if err != nil {
			return err
		}
		var known bool
		if e, known = report.Explain(o.nodeName, overview, id, report.Kernel{Err: errPlanned}); !known {
			return unknownService(id)
		}
	} else {
		err := askAgent(ctx, o.socket, "/explain/service/"+url.PathEscape(id.Namespace)+"/"+url.PathEscape(id.Name), &e)
		switch {
		case errors.Is(err, errUnknownService):
			return unknownService(id)
		case errors.Is(err, errNoAgent):
			return fmt.Errorf("%w Nobody else knows Services: --kubeconfig or --manifests with --node-name do without one, and explain address ADDRESS:PORT asks the kernel", err)
		case err != nil:
			return err
		}
	}
	return o.write(stdout, e, e.State != report.Served || len(e.Problems) > 0)
}

// errPlanned is why the kernel is not looked at for a plan.
var errPlanned = errors.New("this is what an agent would do: the kernel was not looked at")

func unknownService(id sync.ServiceID) error {
	return fmt.Errorf("no Service %s opens a port on nodes: it does not exist, is neither of type NodePort nor LoadBalancer, or has the label "+
		"service.kubernetes.io/service-proxy-name (kubectl get service -n %s %s -o yaml says which)", id, id.Namespace, id.Name)
}

func (o *viewOptions) explainAddress(ctx context.Context, stdin io.Reader, stdout, stderr io.Writer, text string) error {
	var e report.AddressExplanation
	at, protocols, err := parseAddressPort(text)
	if err != nil {
		return err
	}
	if o.planned() {
		overview, err := o.overviewOfPlan(ctx, stdin, stderr)
		if err != nil {
			return err
		}
		e = report.ExplainAddress(o.nodeName, overview, at, report.Kernel{Err: errPlanned}, protocols...)
	} else {
		err := askAgent(ctx, o.socket, "/explain/address?address="+url.QueryEscape(text), &e)
		if errors.Is(err, errNoAgent) {
			i := kernelInspector(ctx)
			e, err = i.explainAddress(ctx, at, protocols)
			if err == nil && e.KernelUnknown != "" {
				err = noAgentBecause(errors.New(e.KernelUnknown))
			}
		}
		if err != nil {
			return err
		}
	}
	return o.write(stdout, e, e.State != report.Served)
}

// kernelInspector answers for a node without an agent.
func kernelInspector(ctx context.Context) *inspector {
	return &inspector{
		node:       thisNode(),
		openKernel: func() (ipvs.Handle, error) { return ipvs.Open(ipvs.Options{}) },
		overview: func(context.Context) (*sync.Overview, error) {
			rules, err := ownRules(ctx)
			if err != nil {
				return nil, noAgentBecause(err)
			}
			return sync.NewKernelOverview(rules, ownAddresses(ctx), sync.Defaults{}), nil
		},
	}
}
