package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	stdsync "sync"
	"time"

	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/report"
	"github.com/kube-ipvs/kube-ipvs/report/page"
	"github.com/kube-ipvs/kube-ipvs/sync"
	"github.com/kube-ipvs/kube-ipvs/traffic"
)

// inspector makes the documents of a running agent. It reads the kernel with handles of its own, which it opens when they are
// needed for the first time, so that the reconcile loop waits for nobody who is curious.
type inspector struct {
	node, source string
	overview     func(context.Context) (*sync.Overview, error)
	// glance is what there is of an overview without the loop; nil if there is none.
	glance     func() *sync.Overview
	health     func(time.Time) sync.Health // known while the loop does not answer; nil without an agent
	openKernel func() (ipvs.Handle, error)
	openTable  func() (ruleReader, error)
	// meter counts traffic; nil where nobody does.
	meter *traffic.Meter

	mu     stdsync.Mutex // held while one is opened, and not while one is used
	kernel ipvs.Handle
	table  ruleReader
}

// ruleReader is what an inspector wants of our nftables table. It may be read by several at once.
type ruleReader interface {
	Read(ctx context.Context) (filter.State, error)
}

// errUnknownService is that of a Service of which the agent knows nothing.
var errUnknownService = errors.New("no such Service opens a port on nodes")

// seeWithin is how long the loop has to answer. It does so between two passes and wherever a long one makes way, and not before
// its input was read once; who asks waits longer, so that he hears why it does not.
const seeWithin = askTimeout / 3

// see is the overview, or why there is none: who looks for what is wrong must not be left with a deadline.
func (i *inspector) see(ctx context.Context) (*sync.Overview, error) {
	ctx, cancel := context.WithTimeout(ctx, seeWithin)
	defer cancel()
	o, err := i.overview(ctx)
	if err == nil || i.health == nil {
		return o, err
	}
	if why := i.health(time.Now()).Reason; why != "" {
		return nil, fmt.Errorf("the agent is not ready: %s (%w)", why, err)
	}
	return nil, fmt.Errorf("the agent is in the middle of a pass, ask again: %w", err)
}

// status is there also while the loop answers nobody: then it says why, and has no Services.
func (i *inspector) status(ctx context.Context) (report.Status, error) {
	o, err := i.see(ctx)
	if err != nil && i.glance != nil {
		s := report.NewStatus(i.node, version, i.source, i.glance())
		s.Incomplete = err.Error()
		return s, nil
	}
	if err != nil {
		return report.Status{}, err
	}
	return report.NewStatus(i.node, version, i.source, o), nil
}

func (i *inspector) ports(ctx context.Context, suggest int) (report.Ports, error) {
	o, err := i.see(ctx)
	if err != nil {
		return report.Ports{}, err
	}
	return report.NewPorts(i.node, o.ViewPorts(), suggest), nil
}

func (i *inspector) explain(ctx context.Context, id sync.ServiceID) (report.Explanation, error) {
	o, err := i.see(ctx)
	if err != nil {
		return report.Explanation{}, err
	}
	e, known := report.Explain(i.node, o, id, i.look(ctx, report.KeysOf(o, id)))
	if !known {
		return report.Explanation{}, errUnknownService
	}
	return e, nil
}

func (i *inspector) explainAddress(ctx context.Context, at netip.AddrPort, protocols []frontend.Protocol) (report.AddressExplanation, error) {
	o, err := i.see(ctx)
	if err != nil {
		return report.AddressExplanation{}, err
	}
	return report.ExplainAddress(i.node, o, at, i.look(ctx, report.KeysAt(at)), protocols...), nil
}

// diff compares twice if it has to: what changes while the kernel is read differs for a moment, and is no difference.
func (i *inspector) diff(ctx context.Context) (report.Difference, error) {
	first, err := i.compare(ctx)
	if err != nil || first.Same() {
		return first, err
	}
	second, err := i.compare(ctx)
	return second.Only(first), err
}

func (i *inspector) compare(ctx context.Context) (report.Difference, error) {
	kernel, err := i.handle()
	if err != nil {
		return report.Difference{}, err
	}
	rules, rulesErr := i.rules(ctx)
	table, err := kernel.List(ctx)
	if err != nil {
		return report.Difference{}, err
	}
	o, err := i.see(ctx)
	if err != nil {
		return report.Difference{}, err
	}
	d := report.Diff(i.node, o, table, rules)
	if rulesErr != nil {
		d.NftablesUnknown = rulesErr.Error()
	}
	return d, nil
}

// sampleAge is how old the counters may be that people are shown: whoever works out rates wants two readings, and the kernel
// brings its counters up to date every two seconds.
const sampleAge = 200 * time.Millisecond

// errNoCounters is why there is no traffic to be shown.
var errNoCounters = errors.New("nobody counts traffic here")

// traffic is what the kernel has counted, with the endpoints of one Service.
func (i *inspector) traffic(ctx context.Context, endpointsOf sync.ServiceID) (report.Traffic, error) {
	if i.meter == nil {
		return report.Traffic{}, errNoCounters
	}
	var of []sync.ServiceID
	var known []sync.PortView
	if endpointsOf != (sync.ServiceID{}) {
		of = append(of, endpointsOf)
		o, err := i.see(ctx)
		if err != nil {
			return report.Traffic{}, err
		}
		known, _, _ = o.ViewService(endpointsOf)
	}
	sample, err := i.meter.SampleOf(ctx, sampleAge, of...)
	if err != nil {
		return report.Traffic{}, err
	}
	return report.NewTraffic(i.node, sample, endpointsOf, known), nil
}

// page shows the same in a browser.
func (i *inspector) page() http.Handler {
	return page.Handler(i.status, func(ctx context.Context, namespace, name string) (report.Explanation, bool, error) {
		e, err := i.explain(ctx, sync.ServiceID{Namespace: namespace, Name: name})
		if errors.Is(err, errUnknownService) {
			return e, false, nil
		}
		return e, err == nil, err
	})
}

// look reads the kernel's entries under keys.
func (i *inspector) look(ctx context.Context, keys []frontend.Key) report.Kernel {
	kernel, err := i.handle()
	if err != nil {
		return report.Kernel{Err: err}
	}
	return report.ReadKernel(ctx, kernel, keys)
}

// handle is that of the kernel's table.
func (i *inspector) handle() (ipvs.Handle, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.kernel == nil {
		kernel, err := i.openKernel()
		if err != nil {
			return nil, err
		}
		i.kernel = kernel
	}
	return i.kernel, nil
}

// rules are those of our nftables table as it is.
func (i *inspector) rules(ctx context.Context) (*filter.State, error) {
	table, err := i.ruleTable()
	if err != nil {
		return nil, err
	}
	state, err := table.Read(ctx) // which takes its time: whoever wants the other handle does not wait for it
	if err != nil {
		return nil, err
	}
	return &state, nil
}

// ruleTable is our nftables table.
func (i *inspector) ruleTable() (ruleReader, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.table == nil {
		table, err := i.openTable()
		if err != nil {
			return nil, err
		}
		i.table = table
	}
	return i.table, nil
}

// parseAddressPort reads ADDRESS:PORT, [ADDRESS]:PORT, and either with /tcp, /udp or /sctp behind it.
func parseAddressPort(text string) (netip.AddrPort, []frontend.Protocol, error) {
	text, word, narrowed := strings.Cut(text, "/")
	var protocols []frontend.Protocol
	if narrowed {
		p, err := frontend.ParseProtocol(word)
		if err != nil {
			return netip.AddrPort{}, nil, err
		}
		protocols = append(protocols, p)
	}
	at, err := netip.ParseAddrPort(text)
	if err != nil || at.Port() == 0 {
		return netip.AddrPort{}, nil, fmt.Errorf("%q: write ADDRESS:PORT, [ADDRESS]:PORT for IPv6, for example 10.1.0.10:30080 or [fd01::10]:30080/udp", text)
	}
	return netip.AddrPortFrom(at.Addr().Unmap().WithZone(""), at.Port()), protocols, nil
}
