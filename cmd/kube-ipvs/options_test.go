package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"

	"github.com/kube-ipvs/kube-ipvs/allocator"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/nodeaddr"
	"github.com/kube-ipvs/kube-ipvs/sync"
	"github.com/kube-ipvs/kube-ipvs/sync/kube"
)

// sameOptions compares all fields; the parsed spec is compared by what it says.
func sameOptions(want, got *options) string {
	return cmp.Diff(want, got, cmp.AllowUnexported(options{}, loggingOptions{}), cmp.Comparer(nodeaddr.Spec.Equal), cmp.Comparer(samePorts))
}

func TestDefaultsOfRun(t *testing.T) {
	got, err := configured(t, "")
	if err != nil {
		t.Fatal(err)
	}
	want := &options{
		nodePortAddresses: []string{"primary"}, addressGrace: time.Minute, masquerade: "all", sourceRanges: "annotation", nodePortRange: "30000-32767", portConflict: "warn", bounds: defaultBounds(),
		scheduler: "rr", allowedSchedulers: kernelSchedulers, syncPeriod: 30 * time.Second, minSync: 20 * time.Millisecond, drainTimeout: 5 * time.Minute,
		healthz: "0.0.0.0:10356", metrics: "127.0.0.1:10349", stateDir: "/run/kube-ipvs", trafficMetrics: "services", trafficMetricsLimit: 5000,
		logging: loggingOptions{format: "text"},
	}
	if diff := sameOptions(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := got.validate(); err != nil {
		t.Errorf("the defaults are not valid: %v", err)
	}
}

// Each flag has a value of its own here, so that none can set the option of another.
func TestEveryFlagOfRunSetsItsOwnOption(t *testing.T) {
	got, err := configured(t, "", "--kubeconfig=a", "--manifests=b", "--hostname-override=c", "--service-proxy-name=d",
		"--nodeport-addresses=10.0.0.0/8,all", "--address-grace=1s", "--masquerade=h", "--detect-local-mode=i", "--cluster-cidr=j,k",
		"--pod-bridge-interface=l", "--pod-interface-name-prefix=m", "--network=n=o,p", "--network=q=r", "--nodeport-source-ranges=s",
		"--service-node-port-range=t", "--extra-port-range=u,v", "--port-conflict=w", "--max-services=9", "--max-virtual-servers=10", "--max-real-servers=11", "--adopt", "--ipvs-scheduler=sh", "--allowed-schedulers=mh,lc",
		"--ipvs-sync-period=2s", "--ipvs-min-sync-period=7ms", "--drain-timeout=3s", "--ipvs-tcp-timeout=4s", "--ipvs-tcpfin-timeout=5s", "--ipvs-udp-timeout=6s",
		"--healthz-bind-address=e", "--metrics-bind-address=f", "--state-dir=g", "-v=7", "--vmodule=x", "--logging-format=y", "--profiling", "--traffic-metrics=z", "--traffic-metrics-limit=8")
	if err != nil {
		t.Fatal(err)
	}
	want := &options{
		kubeconfig: "a", manifests: "b", nodeName: "c", serviceProxyName: "d",
		nodePortAddresses: []string{"10.0.0.0/8", "all"}, addressGrace: time.Second,
		masquerade: "h", detectLocalMode: "i", clusterCIDRs: []string{"j", "k"}, podBridge: "l", podInterfacePrefix: "m",
		networks: []string{"n=o,p", "q=r"}, sourceRanges: "s",
		nodePortRange: "t", extraPorts: []string{"u", "v"}, portConflict: "w", bounds: sync.Bounds{Services: 9, VirtualServers: 10, RealServers: 11},
		scheduler: "sh", allowedSchedulers: []string{"mh", "lc"}, syncPeriod: 2 * time.Second, minSync: 7 * time.Millisecond, drainTimeout: 3 * time.Second, adopt: true,
		timeouts: ipvs.Timeouts{TCP: 4 * time.Second, TCPFin: 5 * time.Second, UDP: 6 * time.Second},
		healthz:  "e", metrics: "f", stateDir: "g", profiling: true, trafficMetrics: "z", trafficMetricsLimit: 8,
		logging: loggingOptions{verbosity: 7, vmodule: "x", format: "y"},
	}
	want.config = got.config
	if diff := sameOptions(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestTheFlagsReachTheReconciler(t *testing.T) {
	o, err := configured(t, "", "--ipvs-sync-period=2s", "--ipvs-min-sync-period=3ms", "--drain-timeout=4s", "--address-grace=5s", "--adopt",
		"--max-services=6", "--max-virtual-servers=7", "--max-real-servers=8")
	if err != nil {
		t.Fatal(err)
	}
	c := o.reconciling()
	got := [...]any{c.SyncPeriod, c.MinSyncPeriod, c.DrainTimeout, c.AddressGrace, c.Adopt, c.Bounds}
	if want := [...]any{2 * time.Second, 3 * time.Millisecond, 4 * time.Second, 5 * time.Second, true, sync.Bounds{Services: 6, VirtualServers: 7, RealServers: 8}}; got != want {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestEachValueOutOfRangeIsRefusedAlone(t *testing.T) {
	for _, flag := range []string{
		"--ipvs-sync-period=999ms", "--ipvs-min-sync-period=-1ms", "--ipvs-min-sync-period=30s", "--ipvs-min-sync-period=10001ms", "--drain-timeout=-1s", "--address-grace=-1s", "--ipvs-tcp-timeout=-1s", "--ipvs-tcpfin-timeout=-1s",
		"--ipvs-udp-timeout=-1s", "--ipvs-tcp-timeout=1500ms", "--ipvs-tcpfin-timeout=1500ms", "--ipvs-udp-timeout=1500ms",
		"--healthz-bind-address=10356", "--metrics-bind-address=localhost", "--ipvs-scheduler=", "--network=dmz", "--network=all=10.0.0.0/8", "--network=dmz=10.0.0.1",
		"--nodeport-source-ranges=both", "--service-node-port-range=x", "--extra-port-range=0-x", "--port-conflict=drop", "--max-services=-1", "--max-virtual-servers=-1", "--max-real-servers=-1",
		"-v=-1", "-v=101", "--vmodule=reconcile", "--vmodule=reconcile=high", "--logging-format=xml",
	} {
		o, err := configured(t, "", flag)
		if err != nil {
			t.Fatal(err)
		}
		if err := o.validate(); err == nil {
			t.Errorf("%s is accepted", flag)
		}
	}
}

func TestAPauseThatIsTooLongIsRefusedWithTheMend(t *testing.T) {
	const tooLong, notLess = "write 10s or less", "is not less than --ipvs-sync-period"
	for _, c := range []struct {
		args []string
		want []string // in the error, in this order; none if it is accepted
	}{
		{[]string{"--ipvs-min-sync-period=30s"}, []string{"--ipvs-min-sync-period: 30s is more than 10s", tooLong, notLess}},
		{[]string{"--ipvs-min-sync-period=30s", "--ipvs-sync-period=1h"}, []string{tooLong}},
		{[]string{"--ipvs-min-sync-period=10001ms"}, []string{tooLong}},
		{[]string{"--ipvs-min-sync-period=10s"}, nil},
		{[]string{"--ipvs-min-sync-period=2s", "--ipvs-sync-period=2s"}, []string{"--ipvs-min-sync-period: 2s " + notLess + ", 2s", "that one longer"}},
		{[]string{"--ipvs-min-sync-period=3s", "--ipvs-sync-period=2s"}, []string{notLess}},
		{[]string{"--ipvs-min-sync-period=1999ms", "--ipvs-sync-period=2s"}, nil},
		{[]string{"--ipvs-min-sync-period=0", "--ipvs-sync-period=1s"}, nil},
	} {
		o, err := configured(t, "", c.args...)
		if err != nil {
			t.Fatal(err)
		}
		err = o.validate()
		if (err == nil) != (len(c.want) == 0) {
			t.Errorf("%v: %v", c.args, err)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%v: %v, want %q in it", c.args, err, want)
			}
		}
		if count := strings.Count(fmt.Sprint(err), "--ipvs-min-sync-period: "); err != nil && len(c.want) == 1 && count != 1 {
			t.Errorf("%v: %d errors: %v", c.args, count, err)
		}
	}
}

func TestWhatIsUnusualIsValid(t *testing.T) {
	for name, args := range map[string][]string{
		"no endpoints over HTTP":        {"--healthz-bind-address=", "--metrics-bind-address="},
		"no wait at all":                {"--drain-timeout=0", "--address-grace=0"},
		"no limits":                     {"--max-services=0", "--max-virtual-servers=0", "--max-real-servers=0"},
		"a scheduler of one's own":      {"--ipvs-scheduler=mine", "--allowed-schedulers=mine"},
		"schedulers for the node alone": {"--allowed-schedulers="},
	} {
		o, err := configured(t, "", args...)
		if err != nil {
			t.Fatal(err)
		}
		if err := o.validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestMeaningOfAServiceDependsOnTheFlags(t *testing.T) {
	o, err := configured(t, "", "--service-proxy-name=ours", "--allowed-schedulers=sh", "--nodeport-addresses=primary,10.0.0.0/8",
		"--network=dmz=iface:eth1", "--nodeport-source-ranges=spec", "--extra-port-range=20-23,443,10356")
	if err != nil {
		t.Fatal(err)
	}
	if err := o.validate(); err != nil {
		t.Fatal(err)
	}
	dmz, err := nodeaddr.ParseSpec([]string{"iface:eth1"})
	if err != nil {
		t.Fatal(err)
	}
	want := kube.Options{
		NodeName: "node1", NodeNeeded: true, ServiceProxyName: "ours", AllowedSchedulers: []string{"sh"},
		Networks: nodeaddr.Networks{"dmz": dmz}, SpecSourceRanges: true,
		ExtraPorts: ports(20, 21, 22, 23, 443, 10356),
		Protected:  ports(append(protectedPorts(), 10349, 10356)...), // the agent's own
	}
	if diff := cmp.Diff(want, o.translation("node1")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	o.spec = nodeaddr.Spec{}
	if o.translation("node1").NodeNeeded {
		t.Error("the Node is needed although no address is chosen by it")
	}
}

// "all" could be the name of a scheduler, and would be the only one that is allowed.
func TestAllIsNoScheduler(t *testing.T) {
	for _, name := range []string{"all", "none"} {
		o, err := configured(t, "", "--allowed-schedulers="+name)
		if err != nil {
			t.Fatal(err)
		}
		if err := o.validate(); err == nil || !strings.Contains(err.Error(), "leave the flag out for all of the kernel's, or write --allowed-schedulers= for none") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNameOfTheNodeIsInLowerCase(t *testing.T) {
	if got, err := (&options{nodeName: " Node1.Example "}).node(); got != "node1.example" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if got, err := (&options{}).node(); got == "" || slices.ContainsFunc([]rune(got), func(r rune) bool { return 'A' <= r && r <= 'Z' }) || err != nil {
		t.Errorf("the host is called %q, %v", got, err)
	}
}

func TestManifestsAreTheSourceWhereTheyAreGiven(t *testing.T) {
	o := &options{manifests: t.TempDir()}
	source, _, err := o.source("node1", nil, logr.Discard())
	if _, is := source.(*kube.Manifests); !is || err != nil {
		t.Errorf("the source is a %T, %v", source, err)
	}
}

func TestTimeoutsThatNoFlagNamesStayTheKernels(t *testing.T) {
	now := ipvs.Timeouts{TCP: time.Second, TCPFin: 2 * time.Second, UDP: 3 * time.Second}
	for _, c := range []struct{ flags, want ipvs.Timeouts }{
		{ipvs.Timeouts{}, now},
		{ipvs.Timeouts{TCP: time.Hour}, ipvs.Timeouts{TCP: time.Hour, TCPFin: now.TCPFin, UDP: now.UDP}},
		{ipvs.Timeouts{TCPFin: time.Hour}, ipvs.Timeouts{TCP: now.TCP, TCPFin: time.Hour, UDP: now.UDP}},
		{ipvs.Timeouts{UDP: time.Hour}, ipvs.Timeouts{TCP: now.TCP, TCPFin: now.TCPFin, UDP: time.Hour}},
	} {
		if got := wantedTimeouts(now, c.flags); got != c.want {
			t.Errorf("flags %+v: want %+v, got %+v", c.flags, c.want, got)
		}
	}
}

func ports(list ...uint16) *allocator.Ports {
	p := new(allocator.Ports)
	p.Add(list...)
	return p
}

func samePorts(a, b *allocator.Ports) bool {
	return (a == nil) == (b == nil) && (a == nil || a.Equal(b))
}
