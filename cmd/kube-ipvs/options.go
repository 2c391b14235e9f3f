package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kube-ipvs/kube-ipvs/allocator"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/nodeaddr"
	"github.com/kube-ipvs/kube-ipvs/sync"
	"github.com/kube-ipvs/kube-ipvs/sync/kube"
)

// options are the flags of the agent. Those that kube-proxy has too carry its names.
type options struct {
	config string

	kubeconfig       string
	manifests        string
	nodeName         string
	serviceProxyName string

	nodePortAddresses []string
	addressGrace      time.Duration

	masquerade         string
	detectLocalMode    string
	clusterCIDRs       []string
	podBridge          string
	podInterfacePrefix string

	networks          []string
	sourceRanges      string
	allowedSchedulers []string

	nodePortRange string
	extraPorts    []string
	portConflict  string
	bounds        sync.Bounds

	scheduler    string
	syncPeriod   time.Duration
	minSync      time.Duration
	drainTimeout time.Duration
	adopt        bool
	timeouts     ipvs.Timeouts

	healthz  string
	metrics  string
	stateDir string

	profiling bool

	trafficMetrics      string
	trafficMetricsLimit int

	logging  loggingOptions
	initOnly bool

	// spec is nodePortAddresses, and so on: the flags as validate parsed them.
	spec        nodeaddr.Spec
	named       nodeaddr.Networks
	nodePorts   allocator.Range
	extra       *allocator.Ports
	protected   *allocator.Ports
	podNetworks []netip.Prefix
}

// kernelSchedulers are the schedulers of the kernel (net/netfilter/ipvs, Linux 6.12). A name ends in a request to load
// module ip_vs_NAME and may come from the author of a Service, so the list is closed; --allowed-schedulers opens it.
var kernelSchedulers = []string{"rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "mh", "sed", "nq", "fo", "ovf", "twos"}

// sourceFlags say where Services come from.
func (o *options) sourceFlags() group {
	g := newGroup("Where Services come from")
	g.flags.StringVar(&o.kubeconfig, "kubeconfig", "", "`file` with the address and credentials of the API server; without it, and without --manifests, the Pod's own service account is used")
	g.flags.StringVar(&o.manifests, "manifests", "", "`file` or directory with Service, EndpointSlice and Node objects instead of an API server (YAML or JSON; - is standard input); changes are followed")
	g.flags.StringVar(&o.nodeName, "hostname-override", "", "`name` of this node's Node object (default: the host name in lower case)")
	g.flags.StringVar(&o.serviceProxyName, "service-proxy-name", "", "serve only Services whose label service.kubernetes.io/service-proxy-name has this `value` (default: only Services without the label)")
	return g
}

// addressFlags choose the addresses.
func (o *options) addressFlags() group {
	g := newGroup("Node addresses")
	g.flags.StringSliceVar(&o.nodePortAddresses, "nodeport-addresses", []string{"primary"}, "the node's addresses that serve node ports, a `list` of CIDRs, primary (the Node's InternalIP of each family), all, and iface:NAME (globs allowed); an address serves if any entry selects it")
	return g
}

// graceFlags bound how long a vanished address is kept.
func (o *options) graceFlags() group {
	g := o.addressFlags()
	g.flags.DurationVar(&o.addressGrace, "address-grace", time.Minute, "how long an address that vanished from the node keeps its virtual servers, so that a flap cuts no connection")
	return g
}

// schedulerFlags are the IPVS flags that plan knows too.
func (o *options) schedulerFlags() group {
	g := newGroup("IPVS")
	g.flags.StringVar(&o.scheduler, "ipvs-scheduler", "rr", "`name` of the scheduler for Services that choose none")
	return g
}

// ipvsFlags are all IPVS flags.
func (o *options) ipvsFlags() group {
	g := o.schedulerFlags()
	g.flags.DurationVar(&o.syncPeriod, "ipvs-sync-period", 30*time.Second, "time between two audits, which read the kernel back and repair what somebody else changed")
	g.flags.DurationVar(&o.minSync, "ipvs-min-sync-period", 20*time.Millisecond, "time between the beginnings of two passes that take in changes in a row; a change after a rest is taken in at once, and 0 takes in each; less than --ipvs-sync-period, and 10s at most")
	g.flags.DurationVar(&o.drainTimeout, "drain-timeout", 5*time.Minute, "how long a real server that is gone keeps its TCP and SCTP connections at most")
	g.flags.BoolVar(&o.adopt, "adopt", false, "take over what another proxy left at the start: virtual servers on node ports (--service-node-port-range) of this node's addresses that no Service claims drain and go, and those on extra ports (--extra-port-range) that a Service asks for serve that")
	g.flags.DurationVar(&o.timeouts.TCP, "ipvs-tcp-timeout", 0, "idle timeout of TCP connections, in whole seconds; 0 keeps the kernel's")
	g.flags.DurationVar(&o.timeouts.TCPFin, "ipvs-tcpfin-timeout", 0, "idle timeout of TCP connections after a FIN, in whole seconds; 0 keeps the kernel's")
	g.flags.DurationVar(&o.timeouts.UDP, "ipvs-udp-timeout", 0, "idle timeout of UDP flows, in whole seconds; 0 keeps the kernel's")
	return g
}

// Where run listens unless it is told otherwise.
const defaultHealthz, defaultMetrics = "0.0.0.0:10356", "127.0.0.1:10349"

// servingFlags are about the agent itself.
func (o *options) servingFlags() group {
	g := newGroup("Health, metrics and state")
	g.flags.StringVar(&o.healthz, "healthz-bind-address", defaultHealthz, "`address:port` of /healthz, /livez and /readyz; empty switches them off")
	g.flags.StringVar(&o.metrics, "metrics-bind-address", defaultMetrics, "`address:port` of /metrics, /statusz and /flagz; empty switches them off")
	g.flags.BoolVar(&o.profiling, "profiling", false, "answer /debug/pprof at --metrics-bind-address too: whoever reaches it can look into the agent's memory and slow it down")
	o.trafficMetricsFlags(g.flags)
	o.stateFlag(g.flags)
	return g
}

// stateFlag is where run leaves what cleanup has to know.
func (o *options) stateFlag(flags *pflag.FlagSet) {
	flags.StringVar(&o.stateDir, "state-dir", "/run/kube-ipvs", "`directory` for what has to survive a restart of the agent, and not of the node: the sysctl values found at the start")
}

// configFlag goes with every command that has flags worth a file.
func (o *options) configFlag() group {
	g := newGroup("General")
	g.flags.StringVar(&o.config, "config", "", "YAML `file` with values of flags, for example \"ipvs-scheduler: mh\"; flags on the command line win")
	return g
}

// generalFlags are those of a command that has a log.
func (o *options) generalFlags() group {
	g := o.configFlag()
	o.logging.add(g.flags)
	return g
}

// runGroups are all flags of run, which check takes too.
func runGroups(o *options) []group {
	return []group{o.sourceFlags(), o.graceFlags(), o.trafficFlags(), o.choiceFlags(), o.portFlags(), o.boundFlags(), o.ipvsFlags(), o.servingFlags(), o.generalFlags()}
}

// validate joins everything that is wrong with the flags of run.
func (o *options) validate() error {
	errs := append(o.validatePlanning(), o.validateTrafficMetrics()...)
	if o.kubeconfig != "" && o.manifests != "" {
		errs = append(errs, errors.New("--kubeconfig and --manifests: choose one of the two sources"))
	}
	for _, d := range []struct {
		flag  string
		value time.Duration
		least time.Duration
	}{
		{"--ipvs-sync-period", o.syncPeriod, time.Second},
		{"--ipvs-min-sync-period", o.minSync, 0},
		{"--drain-timeout", o.drainTimeout, 0},
		{"--address-grace", o.addressGrace, 0},
		{"--ipvs-tcp-timeout", o.timeouts.TCP, 0},
		{"--ipvs-tcpfin-timeout", o.timeouts.TCPFin, 0},
		{"--ipvs-udp-timeout", o.timeouts.UDP, 0},
	} {
		if d.value < d.least {
			errs = append(errs, fmt.Errorf("%s: %s is less than %s", d.flag, d.value, d.least))
		}
		if strings.HasSuffix(d.flag, "-timeout") && strings.HasPrefix(d.flag, "--ipvs-") && d.value%time.Second != 0 {
			errs = append(errs, fmt.Errorf("%s: %s is not a whole number of seconds", d.flag, d.value))
		}
	}
	errs = append(errs, o.validateMinSync()...)
	for _, b := range []struct{ flag, address, example string }{
		{"--healthz-bind-address", o.healthz, defaultHealthz},
		{"--metrics-bind-address", o.metrics, defaultMetrics},
	} {
		if err := checkBindAddress(b.address); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w: write ADDRESS:PORT, for example %s", b.flag, err, b.example))
		}
	}
	return errors.Join(append(errs, o.logging.validate()...)...)
}

// longestMinSync is well below the 30 seconds that a Pod has to terminate unless its author says otherwise: who ends within a pause goes on
// getting requests until it is over.
const longestMinSync = 10 * time.Second

// validateMinSync refuses pauses that keep changes from the kernel for longer than anybody gains by it.
func (o *options) validateMinSync() (errs []error) {
	const flag = "--ipvs-min-sync-period"
	if o.minSync > longestMinSync {
		errs = append(errs, fmt.Errorf("%s: %s is more than %s: Pods that have ended would go on getting requests for as long: write %[3]s or less",
			flag, o.minSync, longestMinSync))
	}
	if o.minSync > 0 && o.minSync >= o.syncPeriod {
		errs = append(errs, fmt.Errorf("%s: %s is not less than --ipvs-sync-period, %s: make this one shorter, or that one longer", flag, o.minSync, o.syncPeriod))
	}
	return errs
}

// checkBindAddress refuses what nobody can listen on, whatever the node has. Nothing is no address, and switches off.
func checkBindAddress(address string) error {
	if address == "" {
		return nil
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("%q is not a port", port)
	}
	return nil
}

// validatePlanning checks the flags that decide what is served, and fills in spec.
func (o *options) validatePlanning() []error {
	var errs []error
	spec, err := nodeaddr.ParseSpec(o.nodePortAddresses)
	if err != nil {
		errs = append(errs, fmt.Errorf("--nodeport-addresses: %w", err))
	}
	o.spec = spec
	for _, name := range o.allowedSchedulers {
		if name == "all" || name == "none" {
			errs = append(errs, fmt.Errorf("--allowed-schedulers: %q is not the name of a scheduler: write names; leave the flag out for all of the kernel's, or write --allowed-schedulers= for none", name))
			continue
		}
		if !ipvs.ValidSchedulerName(name) {
			errs = append(errs, fmt.Errorf("--allowed-schedulers: %q cannot be the name of a scheduler", name))
		}
	}
	if known := slices.Concat(kernelSchedulers, o.allowedSchedulers); !slices.Contains(known, o.scheduler) {
		errs = append(errs, fmt.Errorf("--ipvs-scheduler: unknown scheduler %q: the kernel has %s; a scheduler of your own goes into --allowed-schedulers too",
			o.scheduler, strings.Join(kernelSchedulers, ", ")))
	}
	errs = append(errs, o.validateChoices()...)
	errs = append(errs, o.validatePorts()...)
	errs = append(errs, o.validateBounds()...)
	return append(errs, o.validateTraffic()...)
}

// node is the name of this node's Node object.
func (o *options) node() (string, error) {
	if o.nodeName != "" {
		return strings.ToLower(strings.TrimSpace(o.nodeName)), nil
	}
	name, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("name of this node: %w: give it with --hostname-override", err)
	}
	return strings.ToLower(name), nil
}

// translation is what the meaning of a Service depends on besides the Service.
func (o *options) translation(node string) kube.Options {
	return kube.Options{
		NodeName:          node,
		NodeNeeded:        o.spec.UsesPrimary(),
		ServiceProxyName:  o.serviceProxyName,
		AllowedSchedulers: o.allowedSchedulers,
		Networks:          o.named,
		ExtraPorts:        o.extra,
		Protected:         o.protected,
		SpecSourceRanges:  o.sourceRanges == rangesFromSpec,
	}
}

// configure takes in the --config file of a command. What is good of it is set even if not all of it is, so that validation
// can name in one answer what else is wrong.
func configure(cmd *cobra.Command, path string) error {
	if path == "" {
		return nil
	}
	return loadConfig(path, cmd.Flags())
}
