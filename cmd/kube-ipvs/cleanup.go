package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/host"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/sync"
)

func newCleanup() *cobra.Command {
	o := &options{}
	var wait, stay bool
	g := newGroup("Cleanup")
	g.flags.BoolVar(&wait, "drain", false, "first let connections end: real servers go to weight 0 and are deleted when they have none, or after --drain-timeout")
	g.flags.DurationVar(&o.drainTimeout, "drain-timeout", 5*time.Minute, "how long --drain waits for connections at most")
	g.flags.BoolVar(&stay, "stay", false, "when all is removed, hold the agent's lock until told to end, so that none starts: for a Pod of a DaemonSet, which is not to end by itself")
	o.stateFlag(g.flags)
	general := newGroup("General")
	general.flags.StringVar(&o.config, "config", "", "YAML `file` with values of flags; flags on the command line win")
	cmd := &cobra.Command{
		Use:   "cleanup [--drain] [--stay]",
		Short: "Remove what the agent put into the kernel, and nothing else",
		Long: `Remove the agent's virtual servers and its nftables table, and restore the sysctls that are still
as the agent set them. Virtual servers of others stay. The agent must not be running. Told to end
while --drain waits, it leaves virtual servers that refuse new connections: run it again.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := configure(cmd, o.config); err != nil {
				return err
			}
			return o.cleanup(cmd.Context(), wait, stay, cmd.OutOrStdout())
		},
	}
	addGroups(cmd, g, general)
	return cmd
}

func (o *options) cleanup(ctx context.Context, wait, stay bool, out io.Writer) error {
	unlock, err := host.Lock()
	if err != nil {
		return err
	}
	defer func() { _ = unlock() }() // the process ends anyway
	table, err := filter.Open(filter.Options{})
	if err != nil {
		return err
	}
	state, err := table.Read(ctx)
	if err != nil {
		return err
	}
	if err := o.removeVirtualServers(ctx, state.Rules.Owned.Keys(), wait, out); err != nil {
		return err
	}
	if err := table.Remove(ctx); err != nil {
		return err
	}
	if state.Present {
		fmt.Fprintf(out, "nftables: table inet %s is removed\n", filter.Name)
	} else {
		fmt.Fprintf(out, "nftables: there is no table inet %s\n", filter.Name)
	}
	restored, err := host.Sysctls{StateDir: o.stateDir}.Restore(ctx)
	for _, r := range restored {
		verb := "left as it is"
		if r.Restored {
			verb = "restored"
		}
		fmt.Fprintf(out, "sysctl %s: %s (%s)\n", r.Name, verb, r.Reason)
	}
	removed, errPorts := host.ReservedPorts{StateDir: o.stateDir}.Restore()
	if len(removed) > 0 {
		fmt.Fprintf(out, "sysctl net.ipv4.ip_local_reserved_ports: %s are given back\n", joined(removed))
	}
	err = errors.Join(err, errPorts)
	if err == nil && stay {
		fmt.Fprintln(out, "done: no agent starts here until this process ends")
		<-ctx.Done()
	}
	return err
}

// removeVirtualServers deletes what our nftables table says is ours. The table itself stays until all of it is gone, so
// that a cleanup that fails half way can be repeated.
func (o *options) removeVirtualServers(ctx context.Context, ours []frontend.Key, wait bool, out io.Writer) error {
	kernel, err := ipvs.Open(ipvs.Options{})
	if errors.Is(err, ipvs.ErrNoIPVS) {
		return nil // no IPVS, no virtual servers
	}
	if err != nil {
		return err
	}
	defer kernel.Close()
	removed, err := sync.Remove(ctx, kernel, ours, sync.RemoveOptions{
		Drain: wait, Timeout: o.drainTimeout,
		Progress: func(left int) { fmt.Fprintf(out, "ipvs: waiting for the connections of %d real servers\n", left) },
	})
	fmt.Fprintf(out, "ipvs: %d virtual servers are removed\n", removed)
	return err
}
