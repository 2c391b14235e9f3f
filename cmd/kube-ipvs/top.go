package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/report"
	"github.com/kube-ipvs/kube-ipvs/report/top"
)

// topOptions are the flags of top.
type topOptions struct {
	view         top.Options
	sort, output string
	once         bool
	// socket is that of the agent, kernel opens what is asked without one.
	socket string
	kernel func(ipvs.Options) (ipvs.StatsReader, error)
}

// minTopInterval: IPVS brings its counters up to date every two seconds (net/netfilter/ipvs/ip_vs_est.c). Looks that are closer
// together would see nothing, and then twice as much.
const minTopInterval = 2 * time.Second

func newTop() *cobra.Command {
	o := &topOptions{kernel: ipvs.OpenStats}
	shown := newGroup("View")
	shown.flags.DurationVar(&o.view.Interval, "interval", 2*time.Second, "`time` between two looks, over which the rates are taken")
	shown.flags.StringVar(&o.sort, "sort", string(top.ByConnections), "`order`: connections (new ones per second), active, bytes (per second) or name")
	shown.flags.StringVar(&o.view.Filter, "filter", "", "show only Service ports with this `text` in their name, node port or protocol")
	shown.flags.IntVarP(&o.view.Limit, "number", "n", 0, "show this `number` of Service ports, the first in order (default: all)")
	shown.flags.StringVar(&o.view.Endpoints, "endpoints", "", "show the endpoints of this `Service` too: NAMESPACE/NAME; without an agent ADDRESS:PORT of a virtual server")
	shown.flags.StringVar(&o.socket, "agent-socket", socketName, "`name` of the socket on which the agent answers")
	_ = shown.flags.MarkHidden("agent-socket") // it is there: for tests, which have an agent of their own each
	out := newGroup("Output")
	out.flags.BoolVar(&o.once, "once", false, "print what the first interval shows and end, as without a terminal")
	out.flags.StringVarP(&o.output, "output", "o", "", "print once, in this `format`: table, wide, json or yaml (default: the live view; table with --once)")
	cmd := &cobra.Command{
		Use:   "top [flags]",
		Short: "Show live who uses the node: connections and rates by Service port and by endpoint",
		Long: `Show live who uses the node: connections and rates of each Service port, and of each endpoint of one
Service. ? shows the keys.

It asks the agent that runs on this node. Without one it shows the virtual servers of the kernel, whoever made
them; both take root. With --once or -o, or if the output is no terminal, it looks twice and prints once.`,
		Example: `  kube-ipvs top
  kube-ipvs top --sort bytes --filter production/
  kube-ipvs top --once -n 10
  kube-ipvs top --endpoints default/web -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.run(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
	addGroups(cmd, shown, out)
	return cmd
}

func (o *topOptions) run(ctx context.Context, stdin io.Reader, stdout io.Writer) error {
	format, err := o.validate()
	if err != nil {
		return err
	}
	source, finish, err := o.from(ctx)
	if err != nil {
		return err
	}
	defer finish()
	if o.once || o.output != "" || !interactive(stdin, stdout) {
		d, err := top.Once(ctx, source, o.view)
		if err != nil {
			return err
		}
		return report.Write(stdout, format, d)
	}
	o.view.Color = os.Getenv("NO_COLOR") == ""
	return top.Run(ctx, source, o.view, stdin, stdout)
}

func (o *topOptions) validate() (format report.Format, err error) {
	var errs []error
	if format = report.Table; o.output != "" {
		format, err = report.ParseFormat(o.output)
		errs = append(errs, err)
	}
	o.view.Sort, err = top.ParseSort(o.sort)
	errs = append(errs, err)
	if o.view.Interval < minTopInterval {
		errs = append(errs, fmt.Errorf("--interval: %s is below %s, in which the kernel counts nothing new", o.view.Interval, minTopInterval))
	}
	if o.view.Limit < 0 {
		errs = append(errs, fmt.Errorf("--number: %d is not a number of Service ports", o.view.Limit))
	}
	o.view.Endpoints = askedFor(o.view.Endpoints)
	return format, errors.Join(errs...)
}

// askedFor takes names as the view shows them too: default/web:http and 10.1.0.10:30080/tcp.
func askedFor(endpoints string) string {
	before, _, slash := strings.Cut(endpoints, "/")
	if at, err := netip.ParseAddrPort(before); err == nil {
		return at.String() // IPv6 has many spellings, and virtual servers one
	}
	if !slash {
		return before
	}
	service, _, _ := strings.Cut(endpoints, ":")
	return service
}

// from is the agent if one is there, even if it is not well: its error says more than a table without Services. Without one it
// is the kernel.
func (o *topOptions) from(ctx context.Context) (source top.Source, finish func(), err error) {
	agent := func(ctx context.Context, endpointsOf string) (report.Traffic, error) {
		return trafficFromAgent(ctx, o.socket, endpointsOf)
	}
	if someoneListens(ctx, o.socket) {
		return agent, func() {}, nil
	}
	reader, err := o.kernel(ipvs.Options{})
	if err != nil {
		return nil, nil, fmt.Errorf("no agent answers in this network namespace, and the kernel cannot be asked instead: %w", err)
	}
	node, err := os.Hostname()
	if err != nil {
		node = "?"
	}
	return kernelTraffic{reader: reader, node: node}.read, func() { _ = reader.Close() }, nil
}

// someoneListens reports whether there is an agent. One that hangs up, or cannot be asked, is there, and so is who has its name.
func someoneListens(ctx context.Context, socket string) bool {
	c, err := dialAgent(ctx, socket)
	if err == nil {
		_ = c.Close()
	}
	return !errors.Is(err, errNoAgent)
}

// trafficFromAgent asks the agent for its counters, and for those of the endpoints of a Service.
func trafficFromAgent(ctx context.Context, socket, endpointsOf string) (report.Traffic, error) {
	var t report.Traffic
	err := askAgent(ctx, socket, "/traffic?endpoints="+url.QueryEscape(endpointsOf), &t)
	return t, err
}

// interactive reports whether there is a person at a terminal that can show a view. A serial console does not know its size.
func interactive(stdin io.Reader, stdout io.Writer) bool {
	for _, stream := range []any{stdin, stdout} {
		file, is := stream.(*os.File)
		if !is {
			return false
		}
		size, err := unix.IoctlGetWinsize(int(file.Fd()), unix.TIOCGWINSZ)
		if err != nil || size.Row == 0 || size.Col == 0 {
			return false
		}
	}
	term := os.Getenv("TERM")
	return term != "" && term != "dumb"
}

// topOrders are the values of --sort.
func topOrders() []string {
	var orders []string
	for _, s := range top.Sorts() {
		orders = append(orders, string(s))
	}
	return orders
}
