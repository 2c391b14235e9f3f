package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/report"
	"github.com/kube-ipvs/kube-ipvs/sync"
)

func newDiff() *cobra.Command {
	o := &viewOptions{}
	cmd := &cobra.Command{
		Use:   "diff [flags]",
		Short: "Show what the kernel has otherwise than it should be",
		Long: `Show what the kernel has otherwise than it should be, as the operations that would mend it: those that the agent has not
done yet, that the kernel refused, or whose result somebody else undid. Real servers that drain are no difference.

It asks the agent that runs on this node. With --kubeconfig or --manifests it shows what an agent would do that started now. The exit
code is 0 if nothing differs, 2 if something does, or if the nftables table could not be looked at.`,
		Example: `  kube-ipvs diff
  kube-ipvs diff --kubeconfig admin.conf --node-name node1      # before the agent is started`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.prepare(cmd); err != nil {
				return err
			}
			return o.diff(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	addGroups(cmd, o.planningGroups()...)
	return cmd
}

func (o *viewOptions) diff(ctx context.Context, stdin io.Reader, stdout, stderr io.Writer) error {
	var d report.Difference
	var err error
	if o.planned() {
		d, err = o.diffOfPlan(ctx, stdin, stderr)
	} else {
		err = askAgent(ctx, o.socket, "/diff", &d)
		if errors.Is(err, errNoAgent) {
			err = fmt.Errorf("%w With --kubeconfig or --manifests, and --node-name, diff says what one would do that started now", err)
		}
	}
	if err != nil {
		return err
	}
	return o.write(stdout, d, !d.Same() || d.NftablesUnknown != "")
}

// diffOfPlan compares what a node should serve with the kernel of this one.
func (o *viewOptions) diffOfPlan(ctx context.Context, stdin io.Reader, stderr io.Writer) (report.Difference, error) {
	overview, err := o.overviewOfPlan(ctx, stdin, stderr)
	if err != nil {
		return report.Difference{}, err
	}
	if overview.Rules, err = ownRules(ctx); err != nil {
		return report.Difference{}, err
	}
	i := &inspector{
		node:       o.nodeName,
		openKernel: func() (ipvs.Handle, error) { return ipvs.Open(ipvs.Options{}) },
		openTable:  func() (ruleReader, error) { return filter.Open(o.filterOptions()) },
		overview:   func(context.Context) (*sync.Overview, error) { return overview, nil },
	}
	return i.diff(ctx)
}
