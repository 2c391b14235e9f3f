package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/kube-ipvs/kube-ipvs/nodeaddr"
	"github.com/kube-ipvs/kube-ipvs/sync"
	"github.com/kube-ipvs/kube-ipvs/sync/kube"
)

// planOptions are the flags of plan.
type planOptions struct {
	options
	nodeAddresses []string
	output        string
}

// exitSkipped says that some objects that claim a node port could not be used.
const exitSkipped exit = 2

func newPlan() *cobra.Command {
	o := &planOptions{}
	input := newGroup("Input")
	input.flags.StringVar(&o.manifests, "manifests", "", "`file` or directory with Service, EndpointSlice and Node objects (YAML or JSON; - is standard input)")
	input.flags.StringVar(&o.nodeName, "node-name", "", "`name` of the node to plan for, as in its Node object")
	input.flags.StringSliceVar(&o.nodeAddresses, "node-addresses", nil, "the addresses that the node has, a `list` of IFACE=ADDR/LEN (default: the InternalIP addresses of its Node object)")
	input.flags.StringVar(&o.serviceProxyName, "service-proxy-name", "", "plan only Services whose label service.kubernetes.io/service-proxy-name has this `value`")
	out := newGroup("Output")
	out.flags.StringVarP(&o.output, "output", "o", "table", "`format`: table, json, or ipvsadm (what ipvsadm -R takes)")
	general := newGroup("General")
	general.flags.StringVar(&o.config, "config", "", "YAML `file` with values of flags; flags on the command line win")
	cmd := &cobra.Command{
		Use:   "plan --manifests FILE|DIR|- --node-name NAME [flags]",
		Short: "Show what a node would serve, from manifests alone",
		Long: `Show what a node would serve: which of its addresses, with which real servers, and why not.

plan needs no cluster, no kernel and no privileges. Problems go to standard error. The exit code
is 0 if everything could be planned, 2 if some objects were skipped, 1 if the input is unusable.`,
		Example: `  kubectl get services,endpointslices,nodes -A -o yaml | kube-ipvs plan --manifests - --node-name node1
  kube-ipvs plan --manifests ./manifests --node-name node1 -o ipvsadm
  kube-ipvs plan --manifests all.yaml --node-name node1 --node-addresses eth0=10.1.0.10/24,eth1=10.2.0.10/24 \
    --nodeport-addresses primary,iface:eth1`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := configure(cmd, o.config); err != nil {
				return err
			}
			return o.run(cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	addGroups(cmd, input, o.addressFlags(), o.schedulerFlags(), out, general)
	return cmd
}

func (o *planOptions) run(stdin io.Reader, stdout, stderr io.Writer) error {
	printer, known := map[string]func(io.Writer, *plan) error{"table": printTable, "json": printJSON, "ipvsadm": printSave}[o.output]
	var errs []error
	if !known {
		errs = append(errs, fmt.Errorf("-o %q: write table, json or ipvsadm", o.output))
	}
	if o.manifests == "" {
		errs = append(errs, errors.New("--manifests is missing: name a file or a directory, or - for standard input"))
	}
	if o.nodeName == "" {
		errs = append(errs, errors.New("--node-name is missing: plan shows what one node would serve"))
	}
	errs = append(errs, o.validatePlanning()...)
	if err := errors.Join(errs...); err != nil {
		return err
	}
	p, err := o.plan(stdin)
	if err != nil {
		return err
	}
	skipped := false
	for _, problem := range p.problems {
		fmt.Fprintln(stderr, problem)
		skipped = skipped || problem.Skipped
	}
	if err := printer(stdout, p); err != nil {
		return err
	}
	if skipped {
		return exitSkipped
	}
	return nil
}

// plan is what one node would serve.
type plan struct {
	node      string
	addresses []nodeaddr.Address // that serve
	rejected  []nodeaddr.Rejected
	state     *sync.State
	problems  []sync.Problem
}

func (o *planOptions) plan(stdin io.Reader) (*plan, error) {
	p := &plan{node: o.nodeName, state: sync.NewState(o.scheduler)}
	update, err := kube.ReadManifests(o.manifests, stdin, o.translation(o.nodeName))
	if err != nil {
		return nil, err
	}
	var node sync.Node
	if update.Node != nil {
		node = *update.Node
	}
	all, err := o.addressesOf(node)
	if err != nil {
		return nil, err
	}
	serving, rejected := o.spec.Select(all, node.Primary())
	p.rejected = rejected
	for _, a := range all {
		if slices.Contains(serving, a.Addr) {
			p.addresses = append(p.addresses, a)
		}
	}
	p.state.Update(update)
	p.state.SetAddresses(serving)
	p.state.Resolve()
	p.problems = p.state.Problems()
	return p, nil
}

// addressesOf are the addresses that the node has: those given, or else what its Node object says.
func (o *planOptions) addressesOf(node sync.Node) ([]nodeaddr.Address, error) {
	if len(o.nodeAddresses) > 0 {
		addrs, err := nodeaddr.ParseStatic(o.nodeAddresses)
		if err != nil {
			return nil, fmt.Errorf("--node-addresses: %w", err)
		}
		return addrs, nil
	}
	from := node.InternalIPs
	if len(from) == 0 {
		from = node.ExternalIPs
	}
	addrs := make([]nodeaddr.Address, 0, len(from))
	for _, a := range from {
		addrs = append(addrs, nodeaddr.Address{Addr: a, PrefixLen: a.BitLen()})
	}
	return addrs, nil
}

func printSave(w io.Writer, p *plan) error { return p.state.Table().Save(w) }

func printTable(w io.Writer, p *plan) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Node %s\n", p.node)
	for _, a := range p.addresses {
		fmt.Fprintf(&b, "  serves on %s\n", describe(a))
	}
	if len(p.addresses) == 0 {
		b.WriteString("  serves on no address\n")
	}
	for _, r := range p.rejected {
		fmt.Fprintf(&b, "  not on    %s: %s\n", describe(r.Address), r.Reason)
	}
	b.WriteByte('\n')
	views := p.state.View()
	if len(views) == 0 {
		b.WriteString("No Service opens a node port.\n")
		_, err := io.WriteString(w, b.String())
		return err
	}
	t := tabwriter.NewWriter(&b, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "SERVICE\tPORT\tNODE PORT\tSCHEDULER\tPOLICY\tADDRESS\tREAL SERVERS")
	for _, v := range views {
		printPort(t, v)
	}
	_ = t.Flush() // into b
	_, err := io.WriteString(w, b.String())
	return err
}

func describe(a nodeaddr.Address) string {
	if a.Interface == "" {
		return a.Addr.String()
	}
	return fmt.Sprintf("%s (%s)", a.Addr, a.Interface)
}

// printPort is one line for each real server, the columns before it only where they change.
func printPort(t io.Writer, v sync.PortView) {
	if v.NodePort == 0 {
		fmt.Fprintf(t, "%s\t-\t-\t-\t-\t-\tnot served: %s\n", v.Service, v.NotServed)
		return
	}
	head := fmt.Sprintf("%s\t%s\t%d/%s\t%s\t%s", v.Service, cmp.Or(v.Name, fmt.Sprint(v.Port)), v.NodePort, v.Protocol, v.Scheduler, v.Policy)
	if v.NotServed != "" {
		fmt.Fprintf(t, "%s\t-\tnot served: %s\n", head, v.NotServed)
		return
	}
	for _, f := range v.Frontends {
		var lines []string
		switch {
		case !f.Served:
			lines = []string{"not served: Service " + f.Holder.String() + " holds the port"}
		case f.Why != "":
			lines = []string{"none, connections are refused: " + f.Why}
		default:
			for _, r := range f.Reals {
				lines = append(lines, r.String())
			}
		}
		addr := f.Key.Addr.String()
		for _, line := range lines {
			fmt.Fprintf(t, "%s\t%s\t%s\n", head, addr, line)
			head, addr = "\t\t\t\t", ""
		}
	}
}

// The JSON form of a plan. Fields are added, never renamed.
type (
	planJSON struct {
		Node         string        `json:"node"`
		Addresses    []addressJSON `json:"addresses"`
		NotServing   []addressJSON `json:"notServing"`
		ServicePorts []portJSON    `json:"servicePorts"`
		Problems     []problemJSON `json:"problems"`
	}
	addressJSON struct {
		Address   string `json:"address"`
		Interface string `json:"interface,omitempty"`
		Reason    string `json:"reason,omitempty"`
	}
	portJSON struct {
		Namespace string         `json:"namespace"`
		Service   string         `json:"service"`
		PortName  string         `json:"portName,omitempty"`
		Port      uint16         `json:"port"`
		NodePort  uint16         `json:"nodePort"`
		Protocol  string         `json:"protocol"`
		Policy    string         `json:"externalTrafficPolicy"`
		Scheduler string         `json:"scheduler"`
		NotServed string         `json:"notServed,omitempty"`
		Frontends []frontendJSON `json:"frontends"`
	}
	frontendJSON struct {
		Address     string   `json:"address"`
		Served      bool     `json:"served"`
		Holder      string   `json:"holder,omitempty"`
		Masquerade  bool     `json:"masquerade"`
		RealServers []string `json:"realServers"`
		Reason      string   `json:"reason,omitempty"`
	}
	problemJSON struct {
		Object  string `json:"object"`
		Reason  string `json:"reason"`
		Message string `json:"message"`
		Skipped bool   `json:"skipped"`
	}
)

func printJSON(w io.Writer, p *plan) error {
	out := planJSON{
		Node: p.node, Addresses: []addressJSON{}, NotServing: []addressJSON{}, ServicePorts: []portJSON{}, Problems: []problemJSON{},
	}
	for _, a := range p.addresses {
		out.Addresses = append(out.Addresses, addressJSON{Address: a.Addr.String(), Interface: a.Interface})
	}
	for _, r := range p.rejected {
		out.NotServing = append(out.NotServing, addressJSON{Address: r.Addr.String(), Interface: r.Interface, Reason: r.Reason})
	}
	for _, v := range p.state.View() {
		out.ServicePorts = append(out.ServicePorts, portToJSON(v))
	}
	for _, problem := range p.problems {
		out.Problems = append(out.Problems, problemJSON{
			Object: problem.Object, Reason: string(problem.Reason), Message: problem.Message, Skipped: problem.Skipped,
		})
	}
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(out)
}

func portToJSON(v sync.PortView) portJSON {
	if v.NodePort == 0 {
		return portJSON{Namespace: v.Service.Namespace, Service: v.Service.Name, NotServed: v.NotServed, Frontends: []frontendJSON{}}
	}
	port := portJSON{
		Namespace: v.Service.Namespace, Service: v.Service.Name, PortName: v.Name, Port: v.Port, NodePort: v.NodePort,
		Protocol: strings.ToUpper(v.Protocol.String()), Policy: v.Policy.String(), Scheduler: v.Scheduler, NotServed: v.NotServed,
		Frontends: []frontendJSON{},
	}
	for _, f := range v.Frontends {
		fj := frontendJSON{Address: f.Key.Addr.String(), Served: f.Served, Masquerade: f.Masquerade, RealServers: texts(f.Reals), Reason: f.Why}
		if !f.Served {
			fj.Holder = f.Holder.String()
			fj.Reason = "another Service holds the port"
		}
		port.Frontends = append(port.Frontends, fj)
	}
	return port
}

func texts(addrs []netip.AddrPort) []string {
	out := make([]string, len(addrs))
	for i, a := range addrs {
		out[i] = a.String()
	}
	return out
}
