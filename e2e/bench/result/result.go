// Package result is what a run of the benchmark leaves: raw samples, and what people read of them.
package result

import "time"

// Run is everything about one run.
type Run struct {
	Date      time.Time `json:"date"`
	Kernel    string    `json:"kernel"`  // of the guest
	Machine   string    `json:"machine"` // "2 cores, QEMU TCG, 1 processor in the guest"
	Seed      uint64    `json:"seed"`
	Sizes     []int     `json:"sizes"`     // numbers of Services
	Endpoints int       `json:"endpoints"` // of a Service
	Addresses int       `json:"addresses"` // of the node
	Pairs     int       `json:"pairs"`     // of the data path
	// Versions of programs by name: kube-ipvs, kubernetes, go, nft, ipset, ipvsadm.
	Versions map[string]string `json:"versions"`
	// Commands are the command lines of the subjects, by name.
	Commands map[string][]string `json:"commands"`
	Took     time.Duration       `json:"took"`
	Samples  []Sample            `json:"samples"`
}

// Sample is one measurement of one subject, with the values that it consists of, in the order in which they were taken.
type Sample struct {
	Subject string    `json:"subject"`
	Measure Measure   `json:"measure"`
	Size    int       `json:"size,omitempty"`   // number of Services
	Family  string    `json:"family,omitempty"` // ipv4 or ipv6, of the data path
	Unit    Unit      `json:"unit"`
	Values  []float64 `json:"values"`
	// AtLeast: the values are lower bounds, for what was measured had not ended when it was cut off.
	AtLeast bool `json:"atLeast,omitempty"`
	// Usage is what all the values together took, unless Changes says otherwise. One without system calls is of the CPU time alone.
	Usage *Usage `json:"usage,omitempty"`
	// Changes is how many changes each value of Burst is of. With other measures it is how many of what is measured Usage is of,
	// where they were counted apart from the values, because counting takes time. 0: one for each value.
	Changes int `json:"changes,omitempty"`
	// Watched is how long the subject was looked at, of the measures of a minute in which nothing changes.
	Watched time.Duration `json:"watched,omitempty"`
	// Note says what a reader must know to understand the values.
	Note string `json:"note,omitempty"`
}

// Usage is what a process and everything that it started did.
type Usage struct {
	CPU      time.Duration `json:"cpu"`
	Syscalls uint64        `json:"syscalls"`
	Execs    uint64        `json:"execs"`
	// Messages to the kernel by what they are for. IPVSWrites and IPVSReads are requests, of which one system call may carry
	// many; NftWrites are the rules, sets, elements and chains of nftables' transactions.
	IPVSWrites     uint64 `json:"ipvsWrites"`
	IPVSReads      uint64 `json:"ipvsReads"`
	NftWrites      uint64 `json:"nftWrites"`
	NftCommits     uint64 `json:"nftCommits"`
	NftReads       uint64 `json:"nftReads"`
	IpsetWrites    uint64 `json:"ipsetWrites"`
	NetlinkSends   uint64 `json:"netlinkSends"`   // system calls that send on netlink sockets
	IptablesWrites uint64 `json:"iptablesWrites"` // replaced tables of legacy iptables
}

// Unit of values.
type Unit string

// Units.
const (
	Seconds   Unit = "s"
	Bytes     Unit = "B"
	PerSecond Unit = "1/s"
	Count     Unit = ""
	Ratio     Unit = "ratio"
)

// Measure is what is measured.
type Measure string

// Measures.
const (
	// Cold is the time from the start of the process to the kernel that has everything.
	Cold Measure = "cold"
	// Programming is the part of Cold that a program spends on writing to the kernel: of the floors, of kube-ipvs's writer alone, or of
	// its own account of its first pass. The note says which.
	Programming Measure = "programming"
	// Arrival is the time from a change's arrival in the process to the kernel that has it.
	Arrival Measure = "arrival"
	// Patch is the time from before the patch to the kernel that has it.
	Patch Measure = "patch"
	// Burst is the CPU time for many changes in a row.
	Burst Measure = "burst"
	// Memory is the resident set of the process, at rest; MemoryPeak its greatest.
	Memory     Measure = "memory"
	MemoryPeak Measure = "memory-peak"
	// Restart is the time from the start of a process to its first look at everything, with nothing to change.
	Restart Measure = "restart"
	// Steady is the CPU time of a minute in which nothing changes. SteadyNative is the share of one core that the same takes without
	// emulation and over a model of the kernel, a ratio; AuditReads is how many requests read IPVS in each second of such a minute.
	Steady       Measure = "steady"
	SteadyNative Measure = "steady-native"
	AuditReads   Measure = "audit-reads"
	// Requests is requests in a second on open connections; Latency the time of one; Connects new connections in a second,
	// each with one request. PairRequests, PairLatency and PairConnects are the ratios of pairs: the subject's by that of a
	// virtual server made by hand, taken one right after the other.
	Requests     Measure = "requests"
	Latency      Measure = "latency"
	Connects     Measure = "connects"
	PairRequests Measure = "pair-requests"
	PairLatency  Measure = "pair-latency"
	PairConnects Measure = "pair-connects"
	// Hooks and Rules are how many base chains of nftables or iptables a packet to a node port passes, and how many rules in them.
	Hooks Measure = "hooks"
	Rules Measure = "rules"
)

// lowest is behind the name of a subject with the lowest sync period that it accepts.
const lowest = "/0s"

// Names of subjects. Those with a sync period of their own have it behind the name: "kube-proxy-nftables/1s".
const (
	KubeIPVS      = "kube-ipvs"
	KubeProxyIPVS = "kube-proxy-ipvs"
	KubeProxyNft  = "kube-proxy-nftables"
	// The floors.
	BareBatched = "bare-batched"
	MobySingle  = "moby-single"
	Ipvsadm     = "ipvsadm-restore"
	BareChange  = "bare-change" // of one endpoint changed: the least program behind the same gauge
	// Of the data path.
	ByHand      = "by-hand"
	ByHandAgain = "by-hand, again" // the control: another virtual server made by hand, in the subject's place
	PodDirect   = "pod-direct"
)
