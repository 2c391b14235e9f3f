package top

import (
	"context"
	"fmt"
	"io"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/kube-ipvs/kube-ipvs/report"
)

// Source tells what was counted until now. endpointsOf is the NAMESPACE/NAME of a Service, or the ADDRESS:PORT of a virtual server,
// whose endpoints should be told too; or empty.
type Source func(ctx context.Context, endpointsOf string) (report.Traffic, error)

// Options say what is shown.
type Options struct {
	// Interval is the time between two questions to the source.
	Interval time.Duration
	Sort     Sort
	// Filter is text that the name of a Service port, its node port or its protocol has in it.
	Filter string
	// Limit is how many Service ports are shown; 0 is all.
	Limit int
	// Endpoints is whose endpoints are shown from the start, as a Source is asked for them.
	Endpoints string
	// Color: the terminal should be written to in colour.
	Color bool
	// Location is the time zone of the clock on the screen; nil is that of the process.
	Location *time.Location
}

// Once asks the source twice, an interval apart, and gives the rates between.
func Once(ctx context.Context, source Source, o Options) (Document, error) {
	earlier, err := first(ctx, source, o)
	if err != nil {
		return Document{}, err
	}
	wait := time.NewTimer(o.Interval)
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-ctx.Done():
		return Document{}, ctx.Err()
	}
	now, err := source(ctx, o.Endpoints)
	if err != nil {
		return Document{}, err
	}
	return o.limit(Compare(&earlier, now)), nil
}

// first asks the source for the first time. What is misspelt is told then, and not shown as nothing for ever.
func first(ctx context.Context, source Source, o Options) (report.Traffic, error) {
	t, err := source(ctx, o.Endpoints)
	if err != nil || o.Endpoints == "" {
		return t, err
	}
	for i := range t.Ports {
		if keyOf(&t.Ports[i]).asked() == o.Endpoints {
			return t, nil
		}
	}
	return t, fmt.Errorf("%s is not served on node %s: without --endpoints you see what is", o.Endpoints, t.Node)
}

// limit leaves out what is not asked for, and sorts the rest.
func (o *Options) limit(d Document) Document {
	d.SortedBy = o.Sort
	all := len(d.Ports)
	d.Ports = arranged(d.Ports, o.Sort, o.Filter)
	if o.Limit > 0 && len(d.Ports) > o.Limit {
		d.Ports = d.Ports[:o.Limit]
	}
	d.LeftOut = all - len(d.Ports)
	return d
}

// Run shows the view on a terminal until its user has enough, or ctx ends; neither is an error. The terminal is left as it was. An error
// is that of the first question to the source, before anything is shown, or one of the terminal: later ones stand on the screen.
func Run(ctx context.Context, source Source, o Options, in io.Reader, out io.Writer) error {
	t, err := first(ctx, source, o)
	if err != nil {
		return err
	}
	// The context is that of the process, which ends with SIGINT and SIGTERM; in raw mode ctrl+c is a key.
	// It ends as by a key then: a program that is killed does not wait for who reads from the terminal (bubbletea 2.0.10), and
	// closes under him what he reads.
	p := tea.NewProgram(newModel(ctx, source, o, t), tea.WithInput(in), tea.WithOutput(out), tea.WithoutSignalHandler())
	defer context.AfterFunc(ctx, p.Quit)()
	if _, err := p.Run(); err != nil {
		return fmt.Errorf("terminal: %w", err)
	}
	return nil
}
