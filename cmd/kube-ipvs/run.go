package main

import (
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

// serve answers whoever asks, waits until the node has what serving needs, prepares the kernel, and reconciles it until ctx ends.
func (o *options) serve(ctx context.Context, in inputs, around surroundings) error {
	log := around.logs.logger
	var reconciler *sync.Reconciler // asks nobody for health before it runs
	checks := healthcheck.New(func() bool { return reconciler.Health(time.Now()).Ready })
	defer checks.Close()
	events, _ := in.source.(sync.Events) // manifests have nobody to tell
	config := o.reconciling()
	config.Source, config.Addresses, config.Seed = in.source, in.watcher, seed(in.node)
	config.Generation, config.HealthChecks, config.Events = filter.Generation, checks, events
	config.DeleteStaleFlows, config.Reserve = host.DeleteStaleFlows, o.reserve
	config.Listeners = listeners(func() ([]host.Listener, error) { return host.Listeners(ctx) })
	reconciler = sync.New(log, config)
	inspector := o.inspector(in.node, in.from, reconciler)
	meter, finish := o.newMeter(reconciler)
	defer finish()
	inspector.meter = meter
	endpoints, err := o.endpoints(ctx, around, inspector, reconciler)
	if err != nil {
		return err
	}
	parts, ctx := errgroup.WithContext(ctx)
	for _, e := range endpoints {
		parts.Go(func() error { return e.serve(ctx) })
	}
	parts.Go(func() error {
		in.memory.settle(ctx, func() bool { return !reconciler.Health(time.Now()).Synced.IsZero() })
		return nil
	})
	parts.Go(func() error { return o.reconcile(ctx, in.node, reconciler, log) })
	return parts.Wait()
}

// reconcile waits for what the node lacks, and has the reconciler run on what is there then, until ctx ends.
func (o *options) reconcile(ctx context.Context, node string, reconciler *sync.Reconciler, log logr.Logger) error {
	var with sync.Equipment
	err := await(ctx, log, reconciler.Await, func(ctx context.Context) (err error) {
		with, err = o.equip(ctx, log)
		return err
	})
	if err != nil && ctx.Err() != nil {
		return nil // told to stop
	}
	if err != nil {
		return err
	}
	defer with.Kernel.Close()
	if text := o.overlap(); text != "" && rangeToReserve(o.nodePorts, host.ReservedPorts{}.EphemeralRange).Size() == 0 { // else they are reserved in a moment, or it is told why not
		log.Info("Node ports may be taken by programs before a Service claims them", "reason", text, "mend", "move one of the two ranges")
	}
	log.Info("Starting", "version", version, "node", node, "nodePortAddresses", o.spec.String(), "scheduler", o.scheduler)
	reconciler.Equip(with)
	err = reconciler.Run(ctx)
	log.Info("Stopped: the kernel goes on serving what it has (kube-ipvs cleanup removes it)")
	return err
}

// equip prepares the kernel and opens what the reconciler works with.
func (o *options) equip(ctx context.Context, log logr.Logger) (sync.Equipment, error) {
	renewed := make(chan struct{}, 1)
	kernel, err := o.prepareKernel(ctx, func() {
		select {
		case renewed <- struct{}{}:
		default:
		}
	}, log)
	if err != nil {
		return sync.Equipment{}, err
	}
	table, err := filter.Open(o.filterOptions())
	if err != nil {
		err = fmt.Errorf("%w: is nft installed, and may the agent use it (CAP_NET_ADMIN)?", err)
		return sync.Equipment{}, errors.Join(err, kernel.Close())
	}
	foreign, err := table.Watch(ctx)
	if err != nil {
		return sync.Equipment{}, errors.Join(err, kernel.Close())
	}
	tune := func(ctx context.Context) error {
		return o.tuneAgain(ctx, kernel, host.Sysctls{StateDir: o.stateDir}, log)
	}
	return sync.Equipment{Kernel: kernel, Filter: table, RulesetChanged: foreign, Renewed: renewed, Tune: tune}, nil
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
func (o *options) prepareKernel(ctx context.Context, renewed func(), log logr.Logger) (ipvs.Handle, error) {
	kernel, err := openKernel(ctx, ipvs.Options{Renewed: renewed})
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
func openKernel(ctx context.Context, o ipvs.Options) (ipvs.Handle, error) {
	kernel, err := ipvs.Open(o)
	if !errors.Is(err, ipvs.ErrNoIPVS) {
		return kernel, err
	}
	out, loadErr := exec.CommandContext(ctx, "modprobe", "ip_vs").CombinedOutput()
	if loadErr != nil {
		// Of what modprobe met nothing is concluded: somebody else may load the module.
		return nil, fmt.Errorf("%w; loading module ip_vs failed: %v: %s", err, loadErr, strings.TrimSpace(string(out))) //nolint:errorlint // see above
	}
	return ipvs.Open(o)
}

// probeScheduler asks for the scheduler that serves wherever a Service chooses none.
func (o *options) probeScheduler(ctx context.Context, kernel ipvs.Handle) error {
	err := kernel.ProbeScheduler(ctx, o.scheduler)
	if ipvs.IsUnknownScheduler(err) {
		return missingScheduler(o.scheduler)
	}
	return err
}
