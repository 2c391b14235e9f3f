package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kube-ipvs/kube-ipvs/sync"
)

// portsOptions are the flags of ports.
type portsOptions struct {
	planOptions
	suggest int
	// socket is that of the agent.
	socket string
}

func newPorts() *cobra.Command {
	o := &portsOptions{}
	o.healthz, o.metrics = defaultHealthz, defaultMetrics // which it has no flags for: those ports are run's all the same
	input := newGroup("Input")
	input.flags.StringVar(&o.kubeconfig, "kubeconfig", "", "`file` with the address and credentials of an API server to read; without it, and without --manifests, the agent that runs on this node is asked")
	input.flags.StringVar(&o.manifests, "manifests", "", "`file` or directory with Service and Node objects (YAML or JSON; - is standard input)")
	input.flags.StringVar(&o.nodeName, "node-name", "", "`name` of the node, as in its Node object; for --kubeconfig and --manifests")
	input.flags.StringSliceVar(&o.nodeAddresses, "node-addresses", nil, "the addresses that the node has, a `list` of IFACE=ADDR/LEN (default: the InternalIP addresses of its Node object)")
	input.flags.StringVar(&o.serviceProxyName, "service-proxy-name", "", "look only at Services whose label service.kubernetes.io/service-proxy-name has this `value`")
	input.flags.StringVar(&o.socket, "agent-socket", socketName, "`name` of the socket on which the agent answers")
	_ = input.flags.MarkHidden("agent-socket") // it is there: for tests, which have an agent of their own each
	out := newGroup("Output")
	out.flags.StringVarP(&o.output, "output", "o", "table", "`format`: table or json")
	out.flags.IntVar(&o.suggest, "suggest", 0, "print this `number` of free ports of the static band instead, lowest first")
	general := newGroup("General")
	general.flags.StringVar(&o.config, "config", "", "YAML `file` with values of flags; flags on the command line win")
	cmd := &cobra.Command{
		Use:   "ports [--kubeconfig FILE | --manifests FILE|DIR|-] [flags]",
		Short: "Show who has which port of a node, and which are free",
		Long: `Show who has which port of a node, by what right, and who wants it too: node ports, ports of health
checks, extra ports, programs of the node that listen on one of them.

Without a source it asks the agent that runs on this node, which knows the programs. From an API server or
from manifests it shows what the node would do. The exit code is 2 if a port is claimed twice or is in use,
or if some objects were skipped.`,
		Example: `  kube-ipvs ports
  kube-ipvs ports --kubeconfig admin.conf --node-name node1 -o json
  kube-ipvs ports --manifests services.yaml --node-name node1 --suggest 3`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			written := flagsOfSources(cmd.Flags())
			if err := configure(cmd, o.config); err != nil {
				return err
			}
			if !o.planned() && len(written) > 0 {
				return fmt.Errorf("%s: the agent on this node answers by its own flags; with --kubeconfig or --manifests these count", strings.Join(written, ", "))
			}
			return o.run(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	addGroups(cmd, input, o.addressFlags(), o.trafficFlags(), o.choiceFlags(), o.schedulerFlags(), o.portFlags(), out, general)
	return cmd
}

func (o *portsOptions) run(ctx context.Context, stdin io.Reader, stdout, stderr io.Writer) error {
	var errs []error
	if o.output != "table" && o.output != "json" {
		errs = append(errs, fmt.Errorf("-o %q: write table or json", o.output))
	}
	if o.suggest < 0 {
		errs = append(errs, fmt.Errorf("--suggest: %d is not a number of ports", o.suggest))
	}
	if o.manifests != "" && o.kubeconfig != "" {
		errs = append(errs, errors.New("--kubeconfig and --manifests: choose one of the two sources"))
	}
	if o.planned() && o.nodeName == "" {
		errs = append(errs, errors.New("--node-name is missing: ports are those of one node"))
	}
	errs = append(errs, o.validatePlanning()...)
	if err := errors.Join(errs...); err != nil {
		return err
	}
	answer, problems, err := o.answer(ctx, stdin)
	if err != nil {
		return err
	}
	skipped := false
	for _, problem := range problems {
		of, _, _ := strings.Cut(problem.Object, " ")
		switch {
		case problem.Reason == sync.Conflict, problem.Reason == sync.PortInUse: // which the table says
		case problem.Skipped, of != "Service" && of != "EndpointSlice": // a port, or all of them, may be missing
			fmt.Fprintln(stderr, problem)
			skipped = skipped || problem.Skipped
		}
	}
	if err := answer.print(o, stdout, stderr); err != nil {
		return err
	}
	if skipped {
		return exitSkipped
	}
	return nil
}

// planned reports whether there is a source to plan from, rather than an agent to ask.
func (o *portsOptions) planned() bool { return o.manifests != "" || o.kubeconfig != "" }

// flagsOfSources are those on the command line that say something of a source, or of a node that is planned.
func flagsOfSources(flags *pflag.FlagSet) []string {
	var names []string
	flags.Visit(func(f *pflag.Flag) {
		if !slices.Contains([]string{"agent-socket", "output", "suggest", "config"}, f.Name) {
			names = append(names, "--"+f.Name)
		}
	})
	return names
}

// answer is what the agent says, or what a plan comes to, with its problems.
func (o *portsOptions) answer(ctx context.Context, stdin io.Reader) (portsJSON, []sync.Problem, error) {
	if !o.planned() {
		var answer portsJSON
		err := askAgent(ctx, o.socket, fmt.Sprintf("/ports?suggest=%d", o.suggest), &answer)
		if errors.Is(err, errNoAgent) {
			err = fmt.Errorf("%w --kubeconfig and --manifests do without one", err)
		}
		return answer, nil, err
	}
	p, err := o.plan(ctx, stdin)
	if err != nil {
		return portsJSON{}, nil, err
	}
	return portsToJSON(p.node, p.state.ViewPorts(), o.suggest), p.problems, nil
}

// The JSON form of ports. Fields are added, never renamed.
type (
	portsJSON struct {
		Node    string        `json:"node"`
		Ports   []portUseJSON `json:"ports"`
		Bands   []bandJSON    `json:"bands"`
		Suggest []uint16      `json:"suggest"` // free ports of the static band, as many as were asked for
	}
	portUseJSON struct {
		Port      uint16      `json:"port"`
		Protocol  string      `json:"protocol"`
		Kind      string      `json:"kind"` // node port, health check or extra port
		Band      string      `json:"band"` // static, dynamic or outside
		Namespace string      `json:"namespace"`
		Service   string      `json:"service"`
		Addresses []string    `json:"addresses"`
		Served    bool        `json:"served"`
		Rivals    []rivalJSON `json:"rivals"` // who claims it too, the next holder first
		Others    []string    `json:"others"` // programs of the node, virtual servers of others
	}
	rivalJSON struct {
		Namespace string `json:"namespace"`
		Service   string `json:"service"`
		Kind      string `json:"kind"`
	}
	bandJSON struct {
		Band    string  `json:"band"`
		Range   string  `json:"range"`
		Size    int     `json:"size"`
		Taken   int     `json:"taken"`
		Percent float64 `json:"percent"`
	}
)

func portsToJSON(node string, v sync.PortsView, suggest int) portsJSON {
	answer := portsJSON{Node: node, Ports: []portUseJSON{}, Bands: []bandJSON{}, Suggest: append([]uint16{}, v.Suggest(suggest)...)}
	for _, u := range v.Ports {
		row := portUseJSON{
			Port: u.Port, Protocol: strings.ToUpper(u.Protocol.String()), Kind: u.Kind.String(), Band: u.Band.String(),
			Namespace: u.Owner.Namespace, Service: u.Owner.Name, Served: u.Served,
			Addresses: []string{}, Rivals: []rivalJSON{}, Others: append([]string{}, u.Others...),
		}
		for _, a := range u.Addresses {
			row.Addresses = append(row.Addresses, a.String())
		}
		for _, r := range u.Rivals {
			row.Rivals = append(row.Rivals, rivalJSON{r.Service.Namespace, r.Service.Name, r.Kind.String()})
		}
		answer.Ports = append(answer.Ports, row)
	}
	for _, b := range v.Bands {
		answer.Bands = append(answer.Bands, bandJSON{
			Band: b.Band.String(), Range: b.Range.String(), Size: b.Range.Size(), Taken: b.Taken,
			Percent: float64(1000*b.Taken/b.Range.Size()) / 10,
		})
	}
	return answer
}

func (a portsJSON) print(o *portsOptions, stdout, stderr io.Writer) error {
	switch {
	case o.output == "json":
		encoder := json.NewEncoder(stdout)
		encoder.SetIndent("", "  ")
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(a); err != nil {
			return err
		}
	case o.suggest > 0:
		if len(a.Suggest) < o.suggest {
			fmt.Fprintf(stderr, "the static band has %d free ports, not %d\n", len(a.Suggest), o.suggest)
		}
		for _, port := range a.Suggest {
			fmt.Fprintln(stdout, port)
		}
		if len(a.Suggest) < o.suggest {
			return exitSkipped
		}
		return nil
	default:
		if err := a.table(stdout); err != nil {
			return err
		}
	}
	if slices.ContainsFunc(a.Ports, func(u portUseJSON) bool { return len(u.Rivals)+len(u.Others) > 0 }) {
		return exitSkipped
	}
	return nil
}

func (a portsJSON) table(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Node %s\n", a.Node)
	for _, band := range a.Bands {
		fmt.Fprintf(&b, "  %-7s band %s: %d of %d ports taken (%.1f %%)\n", band.Band, band.Range, band.Taken, band.Size, band.Percent)
	}
	b.WriteByte('\n')
	if len(a.Ports) == 0 {
		b.WriteString("No Service claims a port of this node.\n")
	}
	t := tabwriter.NewWriter(&b, 0, 0, 3, ' ', 0)
	for i, u := range a.Ports {
		if i == 0 {
			fmt.Fprintln(t, "PORT\tKIND\tBAND\tSERVICE\tADDRESSES\tALSO THERE")
		}
		fmt.Fprintf(t, "%d/%s\t%s\t%s\t%s/%s\t%s\t%s\n", u.Port, strings.ToLower(u.Protocol), u.Kind, u.Band, u.Namespace, u.Service,
			addressList(u.Addresses), u.alsoThere())
	}
	_ = t.Flush() // into b
	_, err := io.WriteString(w, b.String())
	return err
}

// shownAddresses is how many addresses stand in one line of the table; JSON has all.
const shownAddresses = 3

func addressList(addrs []string) string {
	if len(addrs) <= shownAddresses {
		return strings.Join(addrs, ",")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(addrs[:shownAddresses], ","), len(addrs)-shownAddresses)
}

// alsoThere are rivals and others, for people.
func (u portUseJSON) alsoThere() string {
	var texts []string
	for _, r := range u.Rivals {
		texts = append(texts, fmt.Sprintf("Service %s/%s wants it (%s)", r.Namespace, r.Service, r.Kind))
	}
	for _, other := range u.Others {
		if !u.Served {
			other = "not served: " + other
		}
		texts = append(texts, other)
	}
	if len(texts) == 0 {
		return "-"
	}
	return strings.Join(texts, "; ")
}
