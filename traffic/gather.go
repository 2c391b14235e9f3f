package traffic

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	stdsync "sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// DefaultLimit is how many Service ports and endpoints have series of their own.
const DefaultLimit = 5000

const (
	// patience is how long a scrape waits for the kernel.
	patience = 5 * time.Second
	// outdated is the age at which a sample tells more of the past than of now: Prometheus looks back as far.
	outdated = 5 * time.Minute
)

// Detail is how much of the traffic is in metrics.
type Detail string

// The details: nothing, Service ports, or their endpoints as well.
const (
	None      Detail = "none"
	Services  Detail = "services"
	Endpoints Detail = "endpoints"
)

// ParseDetail reads one of the details.
func ParseDetail(s string) (Detail, error) {
	switch d := Detail(s); d {
	case None, Services, Endpoints:
		return d, nil
	}
	return "", fmt.Errorf("%q is not a detail of traffic metrics (none, services, endpoints)", s)
}

// GathererOptions say what a Gatherer has.
type GathererOptions struct {
	Detail Detail
	// Limit is how many Service ports and endpoints have series of their own, Service ports first, in the order of their
	// names; 0 is DefaultLimit.
	Limit int
	// MaxAge is how old a sample may be: 0 has the kernel read for each scrape.
	MaxAge time.Duration
	// Log is told when the kernel cannot be read, and when it can be again.
	Log logr.Logger
}

// Gatherer is a prometheus.TransactionalGatherer of all that another gatherer has, and of traffic. It makes metrics of traffic
// itself: a registry checks each one for duplicates, which takes several times what all the rest does. Names, labels
// and values are such that nothing is left to be checked.
type Gatherer struct {
	rest    prometheus.Gatherer
	meter   *Meter
	o       GathererOptions
	failing atomic.Bool
	// spare are slabs of scrapes that are done.
	spare stdsync.Pool
}

// NewGatherer is a Gatherer of rest and of what meter counts. rest must have no family that Descriptions has.
func NewGatherer(rest prometheus.Gatherer, meter *Meter, o GathererOptions) *Gatherer {
	if o.Limit <= 0 {
		o.Limit = DefaultLimit
	}
	return &Gatherer{rest: rest, meter: meter, o: o}
}

// Gather is that of prometheus.TransactionalGatherer. A kernel that cannot be read, or does not answer, takes the metrics of
// traffic away after a while and nothing else. The families are not to be used any more once done was called.
func (g *Gatherer) Gather() (families []*dto.MetricFamily, done func(), err error) {
	families, err = g.rest.Gather()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	spare, ok := g.spare.Get().(slabs)
	if !ok {
		spare = slabs{}
	}
	families = append(slices.Clone(families), g.traffic(ctx, spare)...)
	slices.SortFunc(families, func(a, b *dto.MetricFamily) int { return cmp.Compare(a.GetName(), b.GetName()) })
	return families, stdsync.OnceFunc(func() { g.spare.Put(spare) }), err
}

// traffic are the families of traffic that have metrics.
func (g *Gatherer) traffic(ctx context.Context, spare slabs) []*dto.MetricFamily {
	l := newLabeler()
	if g.o.Detail == None {
		return l.readings(g.meter.Reads())
	}
	sample, err := g.meter.Sample(ctx, g.o.MaxAge)
	g.tell(err)
	families := l.readings(g.meter.Reads())
	if sample.Time.IsZero() || time.Since(sample.Time) > outdated {
		return families
	}
	ports, endpoints, out := limited(portRows(sample), g.o.Limit, g.o.Detail == Endpoints)
	l.ports(ports)
	l.endpoints(endpoints)
	families = append(families, l.leftOut(out))
	for _, f := range portFamilies() {
		families = append(families, f.metrics(spare, ports, func(r *portRow) labels { return r.labels }))
	}
	for _, f := range endpointFamilies() {
		families = append(families, f.metrics(spare, endpoints, func(r *endpointRow) labels { return r.labels }))
	}
	return slices.DeleteFunc(families, func(f *dto.MetricFamily) bool { return f == nil })
}

// tell logs the first failure of several, and the end of them.
func (g *Gatherer) tell(err error) {
	switch {
	case err != nil && g.failing.CompareAndSwap(false, true):
		g.o.Log.Error(err, "Metrics of traffic are not up to date")
	case err == nil && g.failing.CompareAndSwap(true, false):
		g.o.Log.Info("Metrics of traffic are up to date again")
	}
}

// readings are the families about the reading itself.
func (l labeler) readings(n Reads) []*dto.MetricFamily {
	reads := newSlab(dto.MetricType_COUNTER, 3)
	reads.add(l.kind("reals"), float64(n.Reals))
	reads.add(l.kind("use"), float64(n.Use))
	reads.add(l.kind("virtuals"), float64(n.Virtuals))
	errs := newSlab(dto.MetricType_COUNTER, 1)
	errs.add(nil, float64(n.Errors))
	return []*dto.MetricFamily{reads.family(readsName, readsHelp), errs.family(errorsName, errorsHelp)}
}

func (l labeler) leftOut(n leftOut) *dto.MetricFamily {
	s := newSlab(dto.MetricType_GAUGE, 2)
	s.add(l.kind("endpoints"), float64(n.endpoints))
	s.add(l.kind("services"), float64(n.ports))
	return s.family(leftOutName, leftOutHelp)
}

func (l labeler) kind(value string) []*dto.LabelPair {
	return []*dto.LabelPair{l.pair("kind", value)}
}
