// Package job is what the host asks of the guest: how much is measured, and of whom.
package job

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/kube-ipvs/kube-ipvs/e2e/bench/objects"
	"github.com/kube-ipvs/kube-ipvs/e2e/bench/result"
)

// Where things are in the guest.
const (
	Path       = "/lab/bench.json"       // the job
	Admin      = "/lab/admin.kubeconfig" // credentials of an administrator
	Kubeconfig = "/run/gauge.kubeconfig" // of the program that is measured: it leads to its gauge
	Program    = "bench-guest"
)

// SyncPeriod is between two audits of kube-ipvs: its --ipvs-sync-period, where nothing else is said.
const SyncPeriod = 30 * time.Second

// Job is one run of the benchmark.
type Job struct {
	Plan     objects.Plan
	Subjects []string // names; see Subjects
	// Changes of one endpoint, one after the other, at each size: of kube-ipvs, and of a kube-proxy that is quick enough.
	Changes, ProxyChanges int
	// Counted changes follow them, with the counters on.
	Counted int
	// Burst is how many changes come as fast as the API server takes them.
	Burst int
	// Steady is how long kube-ipvs is watched while nothing changes, and ProxySteady a kube-proxy.
	Steady, ProxySteady time.Duration
	// Cutoff ends what takes longer, and ChangeCutoff a change that does.
	Cutoff, ChangeCutoff time.Duration
	// Pairs of the data path, and how long each side of one runs; no pairs, no data path.
	Pairs int
	Each  time.Duration
	// Rounds of the floors at FloorSizes.
	Rounds     int
	FloorSizes []int
	// Profiles are taken of the CPU time, which costs some.
	Profiles bool
	// Settle is how long a program may take to come to rest after a start or a change.
	Settle time.Duration
}

// Default is the whole benchmark: it ends within twenty minutes on two cores.
func Default() Job {
	return Job{
		Plan:     objects.Plan{Sizes: []int{100, 1000, 2700}, Endpoints: 10, Seed: 1},
		Subjects: Names(), Changes: 100, ProxyChanges: 20, Counted: 4, Burst: 1000,
		Steady: time.Minute, ProxySteady: 30 * time.Second, Cutoff: 2 * time.Minute, ChangeCutoff: 25 * time.Second, Settle: 25 * time.Second,
		Pairs: 20, Each: 100 * time.Millisecond, Rounds: 3, FloorSizes: []int{1000, 2700},
	}
}

// Quick is everything once on few objects, in a few minutes, for a test of the benchmark itself.
func Quick() Job {
	j := Default()
	j.Plan.Sizes, j.FloorSizes = []int{20, 50}, []int{50}
	j.Subjects = []string{result.KubeIPVS, result.BareChange, result.KubeProxyNft + "/1s", result.KubeProxyIPVS + "/1s"}
	j.Changes, j.ProxyChanges, j.Counted, j.Burst = 20, 1, 2, 20
	j.Steady, j.ProxySteady = 10*time.Second, 10*time.Second
	j.Cutoff, j.ChangeCutoff, j.Settle = time.Minute, 20*time.Second, 10*time.Second
	j.Pairs, j.Each, j.Rounds = 2, 50*time.Millisecond, 1
	return j
}

// Validate says what is wrong with it.
func (j Job) Validate() error {
	if err := j.Plan.Validate(); err != nil {
		return err // the rest counts on sizes
	}
	var errs []error
	for _, name := range j.Subjects {
		if !slices.Contains(Names(), name) {
			errs = append(errs, fmt.Errorf("there is no subject %q: there are %q", name, Names()))
		}
	}
	for _, size := range j.FloorSizes {
		if size > j.Plan.Largest() {
			errs = append(errs, fmt.Errorf("the floors need %d Services, and there are %d", size, j.Plan.Largest()))
		}
	}
	if each := j.Changes + j.Counted + j.Burst; len(j.Subjects)*(each/j.Plan.Sizes[0]+2)*len(j.Plan.Sizes) > objects.EndpointsEach-j.Plan.Endpoints {
		errs = append(errs, fmt.Errorf("%d changes of %d Services need more endpoints than there are", each, j.Plan.Sizes[0]))
	}
	return errors.Join(errs...)
}

// Read reads a job.
func Read(path string) (Job, error) {
	var j Job
	b, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(b, &j)
	}
	if err != nil {
		return j, fmt.Errorf("read job: %w", err)
	}
	return j, nil
}

// Subject is a program that serves node ports.
type Subject struct {
	Name    string
	Program string
	Args    []string
	// Metrics is where it tells about its passes.
	Metrics string
	// Ready is an address and a path where 200 says that its first pass is over, cheaper than its metrics; empty if it has none.
	Ready string
	// Slow is a subject of which a change takes seconds to minutes: few are made.
	Slow bool
	// Operator: its flags are those that an operator would set. What does not depend on them is measured of this one.
	Operator bool
	// Floor is a subject that is there for one measure, Arrival where there are most Services: what cannot be undercut.
	Floor bool
	// Writes is what it programs.
	Writes Dataplane
}

// Dataplane is the part of the kernel that serves.
type Dataplane string

// Dataplanes.
const (
	IPVS     Dataplane = "ipvs"
	Nftables Dataplane = "nftables"
)

// lowest is the lowest min-sync-period that kube-proxy accepts: its validation refuses negative ones alone
// (ValidateKubeProxyConfiguration, 1.37).
const lowest = "0s"

// Subjects are all that are compared.
func Subjects() []Subject {
	return []Subject{
		{
			Name: result.KubeIPVS, Program: "kube-ipvs", Metrics: "127.0.0.1:10349", Ready: "127.0.0.1:10356/readyz", Operator: true, Writes: IPVS,
			Args: []string{
				"run", "--kubeconfig", Kubeconfig, "--hostname-override", objects.Node, "--state-dir", "/run/kube-ipvs-" + objects.Node,
				"--nodeport-addresses", nodePortAddresses,
			},
		},
		{Name: result.BareChange, Program: Program, Floor: true, Writes: IPVS, Args: []string{result.BareChange, Kubeconfig}},
		proxy(result.KubeProxyNft, Nftables, "1s"),
		proxy(result.KubeProxyNft, Nftables, lowest),
		proxy(result.KubeProxyIPVS, IPVS, "1s"),
		proxy(result.KubeProxyIPVS, IPVS, lowest),
	}
}

// nodePortAddresses are both networks of the node. Of the families that they have, a Service of one family is served in its own.
const nodePortAddresses = "10.1.0.0/24,10.2.0.0/24,fd01::/64,fd02::/64"

// proxy is kube-proxy. Nothing that belongs to the whole machine is touched, for its node is a namespace.
func proxy(name string, writes Dataplane, period string) Subject {
	flag := "--iptables-min-sync-period" // means nftables mode too, whose configuration has it as nftables.minSyncPeriod
	if writes == IPVS {
		flag = "--ipvs-min-sync-period"
	}
	return Subject{
		Name: name + "/" + period, Program: "kube-proxy", Metrics: "127.0.0.1:10249", Slow: writes == IPVS, Operator: period != lowest, Writes: writes,
		Args: []string{
			"--kubeconfig", Kubeconfig, "--hostname-override", objects.Node,
			"--conntrack-max-per-core", "0", "--conntrack-tcp-timeout-established", "0", "--conntrack-tcp-timeout-close-wait", "0",
			"--detect-local-mode", "NodeCIDR", "--proxy-mode", string(writes), flag, period, "--nodeport-addresses", nodePortAddresses,
		},
	}
}

// Names are those of all subjects.
func Names() []string {
	var names []string
	for _, s := range Subjects() {
		names = append(names, s.Name)
	}
	return names
}

// Chosen are the subjects of a job.
func (j Job) Chosen() []Subject {
	return slices.DeleteFunc(Subjects(), func(s Subject) bool { return !slices.Contains(j.Subjects, s.Name) })
}
