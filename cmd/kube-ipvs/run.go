package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/healthcheck"
	"github.com/kube-ipvs/kube-ipvs/host"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/nodeaddr"
	"github.com/kube-ipvs/kube-ipvs/sync"
	"github.com/kube-ipvs/kube-ipvs/sync/kube"
)

func newRun() *cobra.Command {
	o := &options{}
	cmd := &cobra.Command{
		Use:   "run [flags]",
		Short: "Serve the node ports of this node until told to stop",
		Long: `Serve the node ports of this node. SIGTERM ends the agent and leaves the kernel serving:
connections live on, and the next start takes over what is there. cleanup removes it.`,
		Example: `  kube-ipvs run --kubeconfig /etc/kube-ipvs/kubeconfig --nodeport-addresses 10.1.0.0/16,iface:dmz*
  kube-ipvs run --manifests ./manifests --hostname-override node1`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := errors.Join(configure(cmd, o.config), o.validate()); err != nil {
				return err
			}
			logs, err := newLogging(cmd.ErrOrStderr(), o.logging)
			if err != nil {
				return err
			}
			log := logs.logger
			if o.initOnly {
				return o.prepareNode(cmd.Context(), log)
			}
			return o.run(cmd.Context(), cmd.InOrStdin(), surroundings{logs: logs, flags: cmd.Flags()})
		},
	}
	addGroups(cmd, append(runGroups(o), o.onceFlags())...)
	return cmd
}

// run takes the node's lock and keeps everything going until ctx ends or a part cannot go on. The source is asked first: its
// first answers come while the kernel is prepared and read.
func (o *options) run(ctx context.Context, stdin io.Reader, around surroundings) error {
	log := around.logs.logger
	memory := newMemoryCare()
	memory.begin()
	unlock, err := host.Lock()
	if err != nil {
		return err
	}
	defer func() { _ = unlock() }() // the process ends anyway
	node, err := o.node()
	if err != nil {
		return err
	}
	source, from, err := o.source(node, stdin, log)
	if err != nil {
		return err
	}
	parts, ctx := errgroup.WithContext(ctx)
	watcher := nodeaddr.NewWatcher(log)
	parts.Go(func() error { return source.Run(ctx) })
	parts.Go(func() error { return watcher.Run(ctx) })
	parts.Go(func() error { return o.serve(ctx, inputs{node, source, from, watcher, memory}, around) })
	return parts.Wait()
}

// inputs are what the node is served by.
type inputs struct {
	node    string
	source  sync.Source
	from    string // what people call the source
	watcher *nodeaddr.Watcher
	memory  memoryCare
}

// serve prepares the kernel, reconciles it, and answers whoever asks, until ctx ends.
func (o *options) serve(ctx context.Context, in inputs, around surroundings) error {
	log := around.logs.logger
	kernel, err := o.prepareKernel(ctx, log)
	if err != nil {
		return err
	}
	defer kernel.Close()
	table, err := filter.Open(o.filterOptions())
	if err != nil {
		return fmt.Errorf("%w: is nft installed, and may the agent use it (CAP_NET_ADMIN)?", err)
	}
	foreign, err := table.Watch(ctx)
	if err != nil {
		return err
	}
	var reconciler *sync.Reconciler // asks nobody for health before it runs
	checks := healthcheck.New(func() bool { return reconciler.Health(time.Now()).Ready })
	defer checks.Close()
	events, _ := in.source.(sync.Events) // manifests have nobody to tell
	config := o.reconciling()
	config.Source, config.Addresses, config.Kernel, config.Filter, config.Seed = in.source, in.watcher, kernel, table, seed(in.node)
	config.Generation, config.RulesetChanged, config.HealthChecks, config.Events = filter.Generation, foreign, checks, events
	config.DeleteStaleFlows, config.Reserve = host.DeleteStaleFlows, o.reserve
	config.Listeners = listeners(func() ([]host.Listener, error) { return host.Listeners(ctx) })
	reconciler = sync.New(log, config)
	inspector := o.inspector(in.node, in.from, reconciler)
	meter, finish := o.newMeter(reconciler, log)
	defer finish()
	inspector.meter = meter
	endpoints, err := o.endpoints(ctx, around, inspector, reconciler)
	if err != nil {
		return err
	}
	if text := o.overlap(); text != "" && rangeToReserve(o.nodePorts, host.ReservedPorts{}.EphemeralRange).Size() == 0 { // else they are reserved in a moment, or it is told why not
		log.Info("Node ports may be taken by programs before a Service claims them", "reason", text, "mend", "move one of the two ranges")
	}
	log.Info("Starting", "version", version, "node", in.node, "nodePortAddresses", o.spec.String(), "scheduler", o.scheduler)
	parts, ctx := errgroup.WithContext(ctx)
	for _, e := range endpoints {
		parts.Go(func() error { return e.serve(ctx) })
	}
	parts.Go(func() error {
		in.memory.settle(ctx, func() bool { return !reconciler.Health(time.Now()).Synced.IsZero() })
		return nil
	})
	parts.Go(func() error { return reconciler.Run(ctx) })
	err = parts.Wait()
	log.Info("Stopped: the kernel goes on serving what it has (kube-ipvs cleanup removes it)")
	return err
}

// reconciling is what the flags say of reconciling.
func (o *options) reconciling() sync.Config {
	return sync.Config{
		NodePortAddresses: o.spec, Defaults: o.defaults(), Pods: o.pods(), PodsByInterface: o.podInterface() != "",
		SyncPeriod: o.syncPeriod, MinSyncPeriod: o.minSync, DrainTimeout: o.drainTimeout, AddressGrace: o.addressGrace, Adopt: o.adopt,
	}
}

// source is the API server or the manifests, and what people call it.
func (o *options) source(node string, stdin io.Reader, log logr.Logger) (sync.Source, string, error) {
	if o.manifests != "" {
		return kube.NewManifests(o.manifests, stdin, o.translation(node), log), "manifests " + o.manifests, nil
	}
	client, host, err := kube.NewClient(o.kubeconfig, version)
	if err != nil {
		return nil, "", err
	}
	return kube.NewInformers(client, o.translation(node), log), "API server " + host, nil
}

// inspector answers people about a reconciler.
func (o *options) inspector(node, source string, r *sync.Reconciler) *inspector {
	return &inspector{
		node: node, source: source, overview: r.Overview, glance: r.Glance, health: r.Health,
		openKernel: func() (ipvs.Handle, error) { return ipvs.Open(ipvs.Options{}) },
		openTable:  func() (ruleReader, error) { return filter.Open(o.filterOptions()) },
	}
}

// prepareKernel opens the IPVS table and sets the sysctls and timeouts that serving needs. What is right already is not
// written.
func (o *options) prepareKernel(ctx context.Context, log logr.Logger) (ipvs.Handle, error) {
	kernel, err := openKernel(ctx)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(o.probeScheduler(ctx, kernel), o.tune(ctx, kernel, log)); err != nil {
		if errors.Is(err, unix.EPERM) {
			err = fmt.Errorf("%w: the agent needs CAP_NET_ADMIN (in a Pod capabilities.add: [NET_ADMIN])", err)
		}
		return nil, errors.Join(err, kernel.Close())
	}
	return kernel, nil
}

// openKernel opens the IPVS table and loads the module if it has to.
func openKernel(ctx context.Context) (ipvs.Handle, error) {
	kernel, err := ipvs.Open(ipvs.Options{})
	if !errors.Is(err, ipvs.ErrNoIPVS) {
		return kernel, err
	}
	out, loadErr := exec.CommandContext(ctx, "modprobe", "ip_vs").CombinedOutput()
	if loadErr != nil {
		return nil, fmt.Errorf("%w; loading module ip_vs failed: %w: %s", err, loadErr, strings.TrimSpace(string(out)))
	}
	return ipvs.Open(ipvs.Options{})
}

// probeScheduler refuses to start without the scheduler that serves wherever a Service chooses none.
func (o *options) probeScheduler(ctx context.Context, kernel ipvs.Handle) error {
	err := kernel.ProbeScheduler(ctx, o.scheduler)
	if ipvs.IsUnknownScheduler(err) {
		return fmt.Errorf("--ipvs-scheduler: this kernel has no scheduler %q: modprobe ip_vs_%s on the node, or choose another (kube-ipvs check lists them)",
			o.scheduler, o.scheduler)
	}
	return err
}

// tune sets sysctls and timeouts.
func (o *options) tune(ctx context.Context, kernel ipvs.Handle, log logr.Logger) error {
	if _, err := o.setSysctls(ctx, host.Sysctls{StateDir: o.stateDir}, log); err != nil {
		return err
	}
	now, err := kernel.Timeouts(ctx)
	if err != nil {
		return err
	}
	if want := wantedTimeouts(now, o.timeouts); want != now {
		if err := kernel.SetTimeouts(ctx, o.timeouts); err != nil {
			return err
		}
		log.Info("Set the timeouts of IPVS", "tcp", want.TCP, "tcpFin", want.TCPFin, "udp", want.UDP)
	}
	return nil
}

// wantedTimeouts are the timeouts that the flags ask for, and now's where they ask for none.
func wantedTimeouts(now, flags ipvs.Timeouts) ipvs.Timeouts {
	return ipvs.Timeouts{
		TCP:    cmp.Or(flags.TCP, now.TCP),
		TCPFin: cmp.Or(flags.TCPFin, now.TCPFin),
		UDP:    cmp.Or(flags.UDP, now.UDP),
	}
}
