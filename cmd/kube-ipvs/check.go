package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"

	"github.com/kube-ipvs/kube-ipvs/allocator"
	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/host"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/nodeaddr"
	"github.com/kube-ipvs/kube-ipvs/report"
	"github.com/kube-ipvs/kube-ipvs/sync"
)

// sourceTimeout is how long check waits for the API server or the manifests.
const sourceTimeout = 10 * time.Second

func newCheck() *cobra.Command {
	o := &options{}
	cmd := &cobra.Command{
		Use:   "check [flags]",
		Short: "Say what is missing on this node, and what to do about it",
		Long: `Look at everything that the agent needs on this node, item by item. Nothing is changed, but the kernel
may load the modules that it is asked about. Give it the flags of run. The exit code is 1 if the
agent could not work.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := errors.Join(configure(cmd, o.config), o.validate()); err != nil {
				return err
			}
			items := o.check(cmd.Context(), cmd.InOrStdin())
			printItems(cmd.OutOrStdout(), items)
			if host.Worst(items) == host.Fail {
				return exit(1)
			}
			return nil
		},
	}
	addGroups(cmd, runGroups(o)...)
	return cmd
}

func (o *options) check(ctx context.Context, stdin io.Reader) []host.Item {
	items := []host.Item{host.CheckKernel(host.KernelRelease())}
	kernel, err := ipvs.Open(ipvs.Options{})
	items = append(items, host.CheckIPVS(ctx, func(ctx context.Context) error {
		if err != nil {
			return err
		}
		_, err := kernel.Timeouts(ctx)
		return err
	}))
	items = append(items, checkCapabilities(errors.Is(err, ipvs.ErrNoIPVS)))
	items = append(items, host.CheckNFT(ctx, host.Run)...)
	if err == nil {
		defer kernel.Close()
		items = append(items, host.CheckSchedulers(ctx, o.scheduler, o.allowedSchedulers, prober(kernel))...)
	}
	sysctls := host.Sysctls{StateDir: o.stateDir}
	items = append(items, host.CheckSysctls(sysctls.FS(), host.WantedSysctls(host.KernelRelease()), sysctls.Writable)...)
	items = append(items, host.CheckCounting(sysctls.FS())...)

	node, sourceItem := o.checkSource(ctx, stdin)
	serving, own, addressItem := o.checkAddresses(ctx, node)
	items = append(items, sourceItem, addressItem, o.checkPods(node, links()))
	has := func(is4 bool) bool { // with no address yet, both may come
		return len(serving) == 0 || slices.ContainsFunc(serving, func(a netip.Addr) bool { return a.Is4() == is4 })
	}
	items = append(items, host.CheckForwarding(sysctls.FS(), has(true), has(false), sysctls.Writable)...)
	items = append(items, host.CheckProxies(ctx, host.Run, os.DirFS("/proc"), links(), serving)...)
	items = append(items, host.CheckFirewalls(ctx, host.Run, os.DirFS("/proc"), string(filter.Family)+" "+filter.Name, serving, portRange(o.nodePorts))...)
	if err == nil {
		items = append(items, checkForeign(ctx, kernel, own, o.nodePorts))
	}
	return items
}

func prober(kernel ipvs.Handle) func(context.Context, string) (bool, error) {
	return func(ctx context.Context, name string) (bool, error) {
		err := kernel.ProbeScheduler(ctx, name)
		if ipvs.IsUnknownScheduler(err) {
			return false, nil
		}
		return err == nil, err
	}
}

func checkCapabilities(loadModules bool) host.Item {
	status, err := os.Open("/proc/self/status")
	if err != nil {
		return host.Item{Name: "capabilities", Status: host.Warn, Detail: err.Error()}
	}
	defer status.Close()
	return host.CheckCapabilities(status, loadModules)
}

// checkSource reads the Services once, as run would.
func (o *options) checkSource(ctx context.Context, stdin io.Reader) (sync.Node, host.Item) {
	item := host.Item{Name: "source", Status: host.OK}
	fail := func(err error, mend string) (sync.Node, host.Item) {
		item.Status, item.Detail, item.Mend = host.Fail, err.Error(), mend
		return sync.Node{}, item
	}
	name, err := o.node()
	if err != nil {
		return fail(err, "")
	}
	said := &lastError{}
	source, _, err := o.source(name, stdin, logr.New(said))
	if err != nil {
		return fail(err, "give --kubeconfig FILE or --manifests FILE, or run it in a Pod with a service account")
	}
	update, err := readOnce(ctx, source)
	if err != nil {
		if cause := said.get(); cause != nil {
			err = fmt.Errorf("%w: %w", err, cause)
		}
		return fail(err, "is the API server reachable from here, and may the account list Services, EndpointSlices and Nodes?")
	}
	troubled := 0
	for _, svc := range update.Services {
		if len(svc.Problems) > 0 {
			troubled++
		}
	}
	item.Detail = fmt.Sprintf("Services with node ports: %d", len(update.Services))
	if troubled > 0 {
		item.Detail += fmt.Sprintf(", %d of them with problems (kube-ipvs plan names them)", troubled)
	}
	var node sync.Node
	if update.Node != nil {
		node = *update.Node
	}
	if len(update.Problems) > 0 {
		item.Status = host.Warn
		item.Detail += fmt.Sprintf("; %s", update.Problems[0])
	}
	return node, item
}

// readOnce runs a source until it has everything.
func readOnce(ctx context.Context, source sync.Source) (sync.Update, error) {
	ctx, cancel := context.WithTimeout(ctx, sourceTimeout)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- source.Run(ctx) }()
	for {
		if update, ok := source.Next(); ok {
			cancel()
			return update, <-ended
		}
		select {
		case <-source.Changed():
		case err := <-ended:
			if err == nil {
				err = fmt.Errorf("nothing came within %s", sourceTimeout)
			}
			return sync.Update{}, err
		}
	}
}

// checkAddresses says which addresses would serve. It returns them, and all that are the node's own.
func (o *options) checkAddresses(ctx context.Context, node sync.Node) (serving, own []netip.Addr, item host.Item) {
	item = host.Item{Name: "serving addresses", Status: host.OK}
	all, err := localAddresses(ctx)
	if err != nil {
		item.Status, item.Detail = host.Fail, err.Error()
		return nil, nil, item
	}
	for _, a := range all {
		if !a.OfServices() {
			own = append(own, a.Addr)
		}
	}
	serving, rejected := o.spec.Select(all, node.Primary())
	if len(serving) == 0 {
		item.Status = host.Warn
		item.Detail = fmt.Sprintf("none: --nodeport-addresses %s selects no usable address of this node, so no node port is served", o.spec)
		var reasons []string
		for _, r := range rejected {
			reasons = append(reasons, describe(r.Address)+": "+r.Reason)
		}
		if len(reasons) > 0 {
			item.Mend = "choose another, or mend what each lacks: " + strings.Join(reasons, "; ")
		}
		return nil, own, item
	}
	item.Detail = joined(serving)
	return serving, own, item
}

// localAddresses reads the node's addresses once.
func localAddresses(ctx context.Context) ([]nodeaddr.Address, error) {
	ctx, cancel := context.WithTimeout(ctx, sourceTimeout)
	defer cancel()
	watcher := nodeaddr.NewWatcher(logr.Discard())
	ended := make(chan error, 1)
	go func() { ended <- watcher.Run(ctx) }()
	select {
	case <-watcher.Changed():
	case err := <-ended:
		return nil, fmt.Errorf("read the node's addresses: %w", errors.Join(err, ctx.Err()))
	}
	all, _ := watcher.Addresses()
	cancel()
	return all, <-ended
}

// checkForeign looks for virtual servers that keep a node port open and that our nftables table does not claim.
func checkForeign(ctx context.Context, kernel ipvs.Handle, own []netip.Addr, nodePorts allocator.Range) host.Item {
	item := host.Item{Name: "foreign node ports", Status: host.OK, Detail: "none"}
	foreign, err := listForeign(ctx, kernel, own, nodePorts)
	switch {
	case err != nil:
		item.Status, item.Detail = host.Warn, err.Error()
	case len(foreign) > 0:
		item.Status = host.Warn
		item.Detail = fmt.Sprintf("%d virtual servers on node ports of this node are not ours and keep the ports open: %s", len(foreign), joined(foreign))
		item.Mend = "those that a Service claims are taken over; if nothing needs the others: ipvsadm -D -t ADDRESS:PORT"
	}
	return item
}

func listForeign(ctx context.Context, kernel ipvs.Handle, own []netip.Addr, nodePorts allocator.Range) ([]frontend.Key, error) {
	table, err := kernel.List(ctx)
	if err != nil {
		return nil, err
	}
	nft, err := filter.Open(filter.Options{})
	if err != nil {
		return nil, err
	}
	ours, err := nft.Read(ctx)
	if err != nil {
		return nil, err
	}
	return sync.Foreign(table, own, nodePorts, ours.Rules.Owned.Has), nil
}

// joined is a list for people, cut where it gets long.
func joined[T fmt.Stringer](list []T) string {
	const most = 8
	texts := make([]string, 0, most)
	for _, item := range list[:min(len(list), most)] {
		texts = append(texts, item.String())
	}
	text := strings.Join(texts, ", ")
	if len(list) > most {
		text += fmt.Sprintf(" and %d more", len(list)-most)
	}
	return text
}

func links() []string {
	all, err := net.Interfaces()
	if err != nil {
		return nil
	}
	names := make([]string, len(all))
	for i, l := range all {
		names[i] = l.Name
	}
	return names
}

func printItems(w io.Writer, items []host.Item) {
	var rows [][]string
	for _, i := range items {
		rows = append(rows, []string{i.Status.String(), i.Name, strings.Join(strings.Fields(i.Detail), " ")}) // an error of another program may have lines
		if i.Mend != "" {
			rows = append(rows, []string{"", "", "→ " + i.Mend})
		}
	}
	report.Align(w, 2, rows)
	switch host.Worst(items) {
	case host.Fail:
		fmt.Fprintln(w, "\nThe agent cannot work on this node before what FAILED is mended.")
	case host.Warn:
		fmt.Fprintln(w, "\nThe agent can work on this node; mind the warnings.")
	default:
		fmt.Fprintln(w, "\nThe agent can work on this node.")
	}
}
