package report

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/kube-ipvs/kube-ipvs/sync"
)

// Table prints the chain from the Service to its connections.
func (e Explanation) Table(w io.Writer, wide bool) error {
	fmt.Fprintf(w, "Service %s/%s on node %s: %s\n", sync.Printable(e.Namespace), sync.Printable(e.Name), sync.Printable(e.Node), sync.Printable(e.Summary))
	if e.KernelUnknown != "" {
		fmt.Fprintf(w, "  %s\n", sync.Printable(e.KernelUnknown))
	}
	e.body(w, wide)
	problemsTable(w, e.Problems, wide)
	if e.Advice != "" {
		fmt.Fprintf(w, "\nWhat to do: %s\n", e.Advice)
	}
	return nil
}

// body is everything between the headline and the problems.
func (e Explanation) body(w io.Writer, wide bool) {
	fmt.Fprintln(w)
	c := newColumns(w)
	c.row("families", e.Families)
	if e.Networks != "" {
		c.row("networks", e.Networks)
	}
	if len(e.Allow) > 0 {
		shown, more := firstFew(e.Allow, wide)
		c.row("clients", "only "+strings.TrimSpace(strings.Join(shown, ", ")+" "+more))
	}
	if len(e.Deny) > 0 {
		shown, more := firstFew(e.Deny, wide)
		c.row("clients", "not "+strings.TrimSpace(strings.Join(shown, ", ")+" "+more))
	}
	title := "addresses"
	shown, more := firstFew(e.Addresses, wide)
	for _, a := range shown {
		mark := "no   "
		if a.Serves {
			mark = "yes  "
		}
		c.row(title, mark+a.String())
		title = ""
	}
	if more != "" {
		c.row("", more)
	}
	for _, s := range e.Settings {
		c.row(s.Name, settingText(s))
	}
	c.flush()
	for _, p := range e.Ports {
		p.table(w, wide, e.KernelUnknown == "")
	}
	e.HealthCheck.table(w)
}

// settingText says what of a setting is in force.
func settingText(s ExplainedSetting) string {
	written := shortened(s.Written)
	switch {
	case s.Reason == "" && s.InForce == written:
		return written
	case s.Reason == "":
		return fmt.Sprintf("%s (in force: %s)", written, s.InForce)
	case s.InForce == "":
		return fmt.Sprintf("%s is not in force: %s", written, s.Reason)
	}
	return fmt.Sprintf("%s (in force: %s; %s)", written, s.InForce, s.Reason)
}

func (p ExplainedPort) table(w io.Writer, wide, kernel bool) {
	if p.NodePort == 0 {
		fmt.Fprintf(w, "\nA port of it is not served: %s\n", sync.Printable(p.Reason))
		return
	}
	kind := "Node port"
	if p.Extra {
		kind = "Extra port"
	}
	inside := fmt.Sprintf("%s, %d in the cluster", p.Port, p.ClusterPort)
	if p.Port == strconv.Itoa(int(p.ClusterPort)) {
		inside = p.Port + " in the cluster"
	}
	fmt.Fprintf(w, "\n%s %d/%s (%s): %s\n", kind, p.NodePort, strings.ToLower(p.Protocol), sync.Printable(inside), p.State)
	fmt.Fprintf(w, "  scheduler %s, externalTrafficPolicy %s\n", sync.Printable(p.Scheduler), p.Policy)
	if len(p.Frontends) == 0 {
		fmt.Fprintf(w, "  %s\n", sync.Printable(p.Reason))
	}
	c := newColumns(w)
	for i, f := range p.Frontends {
		if i == 0 {
			c.row("  ADDRESS", "SERVED", "OWNER", heading(kernel), "WHY")
		}
		f.row(c, wide, kernel)
	}
	c.flush()
	for _, f := range p.Frontends {
		f.remarks(w)
	}
	p.endpointsTable(w, wide, kernel)
}

// heading is that of the column with virtual servers.
func heading(kernel bool) string {
	if kernel {
		return "IN THE KERNEL"
	}
	return "VIRTUAL SERVER"
}

func (f ExplainedFrontend) row(c *columns, wide, lookedAt bool) {
	served := "no"
	if f.Served {
		served = "yes"
	}
	kernel := orDash(f.VirtualServer)
	if !lookedAt {
		kernel = orDash(f.Wanted)
	}
	reason := f.Reason
	switch {
	case f.Served && f.Internal:
		reason = "for clients on this node only: " + reason
	case f.Served && reason == "" && wide:
		reason = "masquerade " + f.Masquerade
	}
	c.row("  "+f.Address, served, f.Holder, kernel, reason)
}

// remarks are what there is to say of a frontend beside its line in the table.
func (f ExplainedFrontend) remarks(w io.Writer) {
	for _, rival := range f.Rivals {
		fmt.Fprintf(w, "  %s: Service %s wants it too\n", f.Address, sync.Printable(rival))
	}
	for _, op := range f.Pending {
		fmt.Fprintf(w, "  %s: pending: %s\n", f.Address, sync.Printable(op))
	}
	if f.Waiting != "" {
		fmt.Fprintf(w, "  %s: refused: %s\n", f.Address, sync.Printable(f.Waiting))
	}
}

// shownEndpoints is how many endpoints a table shows.
const shownEndpoints = 50

func (p ExplainedPort) endpointsTable(w io.Writer, wide, kernel bool) {
	if len(p.Endpoints) == 0 {
		fmt.Fprintf(w, "  no endpoints: no EndpointSlice of the Service has one for this port\n")
		return
	}
	shown := p.Endpoints
	if !wide && len(shown) > shownEndpoints {
		shown = shown[:shownEndpoints]
	}
	c := newColumns(w)
	head := []any{"  ENDPOINT", "USE", "WEIGHT"}
	if kernel {
		head = append(head, "ACTIVE", "INACTIVE")
	}
	head = append(head, "WHY")
	if wide {
		head = append(head, "NODE", "TARGET", "CONDITIONS", "SINCE")
	}
	c.row(head...)
	for _, e := range shown {
		weight := "-"
		if e.Virtuals > 0 {
			weight = fmt.Sprint(e.Weight)
		}
		cells := []any{"  " + e.Address, e.Use, weight}
		if kernel {
			cells = append(cells, e.Active, e.Inactive)
		}
		cells = append(cells, orDash(e.Reason))
		if wide {
			since := "-"
			if e.Since != nil {
				since = e.Since.Format("15:04:05")
			}
			cells = append(cells, orDash(e.Node), orDash(e.Target), e.conditions(), since)
		}
		c.row(cells...)
	}
	c.flush()
	if n := len(p.Endpoints) - len(shown); n > 0 {
		fmt.Fprintf(w, "  and %d more (-o wide shows all)\n", n)
	}
}

// conditions are those of the EndpointSlice that are true.
func (e ExplainedEndpoint) conditions() string {
	var set []string
	for _, c := range []struct {
		name string
		is   bool
	}{{"ready", e.Ready}, {"serving", e.Serving}, {"terminating", e.Terminating}} {
		if c.is {
			set = append(set, c.name)
		}
	}
	return orDash(strings.Join(set, ","))
}

func (h *HealthCheck) table(w io.Writer) {
	if h == nil {
		return
	}
	fmt.Fprintf(w, "\nHealth check port %d\n", h.Port)
	if len(h.Addresses) == 0 {
		fmt.Fprintf(w, "  not answered: %s\n", h.Reason)
	}
	c := newColumns(w)
	for _, a := range h.Addresses {
		c.row("  "+a.Address, a.Answer)
	}
	c.flush()
}

// Table prints what answers on the address and port.
func (e AddressExplanation) Table(w io.Writer, wide bool) error {
	fmt.Fprintf(w, "%s on node %s: %s\n", e.Address, sync.Printable(e.Node), sync.Printable(e.Summary))
	if e.Advice != "" {
		fmt.Fprintf(w, "  What to do: %s\n", e.Advice)
	}
	if e.KernelUnknown != "" {
		fmt.Fprintf(w, "  %s\n", sync.Printable(e.KernelUnknown))
	}
	for _, p := range e.Protocols {
		fmt.Fprintf(w, "\n%s: %s\n", p.Protocol, sync.Printable(orDash(strings.Join(p.Claimants, ", "))))
		if p.Service != nil {
			p.Service.body(w, wide)
			problemsTable(w, p.Service.Problems, wide)
			continue
		}
		fmt.Fprintf(w, "  %s\n", sync.Printable(p.Reason))
		if p.InKernel {
			fmt.Fprintf(w, "  in the kernel: %s\n", p.VirtualServer)
		}
		ExplainedPort{Endpoints: p.RealServers}.endpointsTable(w, wide, true)
	}
	return nil
}
