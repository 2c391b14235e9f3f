package report

import (
	"net/netip"
	"time"

	"github.com/kube-ipvs/kube-ipvs/nodeaddr"
	"github.com/kube-ipvs/kube-ipvs/sync"
)

// Status is what an agent does on its node at a moment: the answer to "is it well, and what does it serve".
type Status struct {
	Node    string    `json:"node"`
	Version string    `json:"version"`
	Time    time.Time `json:"time"`
	// Agent is false where none answered, and the kernel alone was asked.
	Agent bool `json:"agent"`
	// Source says where Services come from: "API server https://10.0.0.1:6443", "manifests /etc/kube-ipvs/manifests".
	Source    string          `json:"source"`
	Health    Health          `json:"health"`
	Addresses []Address       `json:"addresses"`
	Totals    Totals          `json:"totals"`
	Services  []ServiceStatus `json:"services"`
	// Incomplete says why there are no Services and addresses here, although there may be some; empty if there are all.
	Incomplete string `json:"incomplete,omitempty"`
	// Foreign are virtual servers on node ports of this node that are not ours, as ADDRESS:PORT/protocol.
	Foreign  []string  `json:"foreign"`
	Problems []Problem `json:"problems"`
}

// Health says whether the agent does its work.
type Health struct {
	Ready bool `json:"ready"`
	Alive bool `json:"alive"`
	// Reason says why not; empty if it is both.
	Reason string `json:"reason,omitempty"`
	// Ineligible says why load balancers should leave the node alone: it is about to go. Empty if it is not.
	Ineligible string `json:"ineligible,omitempty"`
	// Synced is when everything was last as it should be, FailingSince when that ended.
	Synced       *time.Time `json:"synced,omitempty"`
	FailingSince *time.Time `json:"failingSince,omitempty"`
	// Error is what failed last.
	Error string `json:"error,omitempty"`
}

// Address is an address of the node.
type Address struct {
	Address   string `json:"address"`
	Interface string `json:"interface,omitempty"`
	Serves    bool   `json:"serves"`
	// Reason says why it does not serve, or why it does although it is gone.
	Reason string `json:"reason,omitempty"`
	// Until is when an address that vanished stops being served.
	Until *time.Time `json:"until,omitempty"`
}

// Totals are counts of now, and of what was done since the agent started.
type Totals struct {
	Services       int `json:"services"`
	Served         int `json:"served"`      // wholly
	Partly         int `json:"partly"`      // on some of their addresses, or for some of their clients
	NoEndpoints    int `json:"noEndpoints"` // clients are refused
	NotServed      int `json:"notServed"`
	VirtualServers int `json:"virtualServers"`
	RealServers    int `json:"realServers"`
	Draining       int `json:"draining"`
	Conflicts      int `json:"conflicts"` // ports that another Service holds

	Passes        uint64  `json:"passes"`
	FailedPasses  uint64  `json:"failedPasses"`
	Operations    uint64  `json:"operations"` // on the IPVS table, done
	Refused       uint64  `json:"refused"`    // by the kernel
	DriftRepaired uint64  `json:"driftRepaired"`
	BusySeconds   float64 `json:"busySeconds"`
}

// State says in one word what becomes of a Service or one of its ports.
type State string

// The states, the worst first.
const (
	NotServed   State = "not served"   // on no address
	NoEndpoints State = "no endpoints" // clients are refused
	Partly      State = "partly"       // on some of its addresses, or for some of its clients
	Served      State = "served"
)

// ServiceStatus is one Service that opens a port on nodes.
type ServiceStatus struct {
	Namespace string       `json:"namespace"`
	Name      string       `json:"name"`
	State     State        `json:"state"`
	Ports     []PortStatus `json:"ports"`
	// Problems is how many of Status.Problems are its own.
	Problems int `json:"problems"`
}

// PortStatus is one port of a Service.
type PortStatus struct {
	Port      string   `json:"port"` // name, or number inside the cluster
	NodePort  uint16   `json:"nodePort"`
	Extra     bool     `json:"extra,omitempty"`
	Protocol  string   `json:"protocol"`
	Policy    string   `json:"externalTrafficPolicy"`
	Scheduler string   `json:"scheduler"`
	State     State    `json:"state"`
	Addresses []string `json:"addresses"` // that serve it
	// Endpoints get new connections, Draining ones wait for theirs to end, Others are not used.
	Endpoints int `json:"endpoints"`
	Draining  int `json:"draining"`
	Others    int `json:"others"`
	// Reason says why it is not simply served.
	Reason string `json:"reason,omitempty"`
}

// Problem is something that a user wrote and that is not, or not entirely, in force.
type Problem struct {
	Object  string `json:"object"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
	// Advice says what to do about problems of this kind.
	Advice  string `json:"advice"`
	Skipped bool   `json:"skipped"` // something is not served because of it
}

// NewStatus makes the document. The agent's name of itself and of its source are not the loop's.
func NewStatus(node, version, source string, o *sync.Overview) Status {
	s := Status{
		Node: node, Version: version, Time: o.Time, Agent: true, Source: source,
		Health: newHealth(o), Addresses: newAddresses(o, false), Services: []ServiceStatus{}, Foreign: []string{}, Problems: newProblems(o.Problems()),
	}
	if !o.Settled {
		s.Incomplete = "the kernel has not been read yet, so nobody knows what it serves"
	}
	for _, id := range o.ServiceIDs() {
		if svc := newServiceStatus(o, id); len(svc.Ports) > 0 || svc.Problems > 0 {
			s.Services = append(s.Services, svc)
		}
	}
	for _, key := range o.Status.Foreign {
		s.Foreign = append(s.Foreign, keyText(key))
	}
	s.Totals = newTotals(s, o)
	return s
}

func newHealth(o *sync.Overview) Health {
	h := Health{Ready: o.Health.Ready, Alive: o.Health.Alive, Reason: o.Health.Reason, Ineligible: o.Health.Ineligible, Synced: instant(o.Status.Synced), FailingSince: instant(o.Status.FailingSince)}
	if o.Status.Err != nil {
		h.Error = o.Status.Err.Error()
	}
	return h
}

// instant is nil for the zero time.
func instant(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// newAddresses are those that serve, in order, then those that do not: all of them, or those that somebody might want to serve.
func newAddresses(o *sync.Overview, all bool) []Address {
	addresses := []Address{}
	for _, addr := range o.Addresses() {
		a := Address{Address: addr.String(), Serves: true}
		for _, known := range o.All {
			if known.Addr == addr {
				a.Interface = known.Interface
			}
		}
		if until, gone := o.Grace[addr]; gone {
			a.Reason, a.Until = "the node lost it a moment ago: its connections are kept in case it comes back", instant(until)
		}
		addresses = append(addresses, a)
	}
	seen := map[netip.Addr]bool{} // a network plugin may give one address to the interface of each pod
	for _, r := range o.Rejected {
		if (all || !r.OfServices() && !plumbing(r.Address)) && !seen[r.Addr] { // of which there may be thousands, beside kube-proxy in IPVS mode
			seen[r.Addr] = true
			addresses = append(addresses, Address{Address: r.Addr.String(), Interface: r.Interface, Reason: r.Reason})
		}
	}
	return addresses
}

// plumbing reports that an address is one that every host has and nobody would think of serving on.
func plumbing(a nodeaddr.Address) bool { return a.Addr.IsLoopback() || a.Addr.IsLinkLocalUnicast() }

func newProblems(all []sync.Problem) []Problem {
	problems := make([]Problem, 0, len(all))
	for _, p := range all {
		problems = append(problems, Problem{Object: p.Object, Reason: string(p.Reason), Message: p.Message, Advice: p.Reason.Advice(), Skipped: p.Skipped})
	}
	return problems
}

func newTotals(s Status, o *sync.Overview) Totals {
	t := Totals{
		Services: len(s.Services), VirtualServers: o.Status.Frontends, RealServers: o.Status.RealServers, Draining: o.Status.Leaving,
		Passes: o.Counters.Passes, FailedPasses: o.Counters.FailedPasses, DriftRepaired: o.Counters.Drift, BusySeconds: o.Counters.Busy.Seconds(),
	}
	for _, svc := range s.Services {
		switch svc.State {
		case Served:
			t.Served++
		case Partly:
			t.Partly++
		case NoEndpoints:
			t.NoEndpoints++
		case NotServed:
			t.NotServed++
		}
	}
	for _, p := range s.Problems {
		if p.Reason == string(sync.Conflict) {
			t.Conflicts++
		}
	}
	for _, n := range o.Counters.Done {
		t.Operations += n
	}
	for _, n := range o.Counters.Refused {
		t.Refused += n
	}
	return t
}

// Well reports that the agent is ready, that everything is served, and that nobody has to do anything.
func (s Status) Well() bool {
	return s.Health.Ready && s.Incomplete == "" && s.Totals.NotServed == 0 && len(s.Problems) == 0
}
