package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/report"
)

func newStatus() *cobra.Command {
	o := &viewOptions{}
	cmd := &cobra.Command{
		Use:   "status [flags]",
		Short: "Show what the agent on this node does: its health, what is served where, problems",
		Long: `Show on one screen what the agent on this node does: whether it is well, on which addresses it serves, what is
not served and why, problems and what to do about each. -o wide has a line for every Service port.

Where no agent answers, it shows what the kernel goes on serving by itself. The exit code is 0 if all is well, 2 if the agent
is not ready, a Service is served on no address, or there are problems, and 1 if nothing can be found out.`,
		Example: `  kube-ipvs status
  kube-ipvs status -o wide
  kube-ipvs status -o json | jq '.problems[].object'
  kubectl exec -n kube-system ds/kube-ipvs -- kube-ipvs status`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.prepare(cmd); err != nil {
				return err
			}
			return o.status(cmd.Context(), cmd.OutOrStdout())
		},
	}
	addGroups(cmd, outputGroup(&o.output), o.agentGroup())
	return cmd
}

func (o *viewOptions) status(ctx context.Context, stdout io.Writer) error {
	var s report.Status
	err := askAgent(ctx, o.socket, "/status", &s)
	if errors.Is(err, errNoAgent) {
		s, err = kernelStatus(ctx)
	}
	if err != nil {
		return err
	}
	return o.write(stdout, s, !s.Well())
}

// kernelStatus is the status of a node without an agent.
func kernelStatus(ctx context.Context) (report.Status, error) {
	s := report.Status{
		Node: thisNode(), Version: version, Time: time.Now(), Source: "the kernel alone",
		Health:    report.Health{Reason: "The kernel goes on serving what it has, and follows no change: start kube-ipvs run, or look why it does not (journalctl, kubectl logs)."},
		Addresses: []report.Address{}, Services: []report.ServiceStatus{}, Foreign: []string{}, Problems: []report.Problem{},
	}
	kernel, err := ipvs.Open(ipvs.Options{})
	if err != nil {
		return s, noAgentBecause(err)
	}
	defer kernel.Close()
	table, err := kernel.List(ctx)
	if err != nil {
		return s, noAgentBecause(err)
	}
	rules, err := ownRules(ctx)
	if err != nil {
		return s, noAgentBecause(err)
	}
	for key, entry := range table {
		if !rules.Owned.Has(key) {
			continue
		}
		s.Totals.VirtualServers++
		s.Totals.RealServers += len(entry.Reals)
		for _, real := range entry.Reals {
			if real.Weight == 0 {
				s.Totals.Draining++
			}
		}
	}
	return s, nil
}

// noAgentBecause is an error of what was tried because no agent answered.
func noAgentBecause(err error) error {
	return fmt.Errorf("%w And without one the kernel has to be asked: %w", errNoAgent, err)
}

// ownRules are those of our nftables table.
func ownRules(ctx context.Context) (filter.Rules, error) {
	table, err := filter.Open(filter.Options{})
	if err != nil {
		return filter.Rules{}, err
	}
	state, err := table.Read(ctx)
	return state.Rules, err
}
