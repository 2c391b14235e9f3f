package report

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/kube-ipvs/kube-ipvs/sync"
)

// Table says what is served where, what load balancers are answered, and what authors of Services chose. Wide adds whose
// requests are masqueraded and the nodes of the real servers, and shortens nothing. Problems are not in it: who prints it
// tells them apart from it.
func (p Plan) Table(w io.Writer, wide bool) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Node %s\n", sync.Printable(p.Node))
	for _, a := range p.Addresses {
		fmt.Fprintf(&b, "  serves on %s\n", sync.Printable(a.String()))
	}
	if len(p.Addresses) == 0 {
		b.WriteString("  serves on no address\n")
	}
	for _, a := range p.NotServing {
		fmt.Fprintf(&b, "  not on    %s: %s\n", sync.Printable(a.String()), sync.Printable(a.Reason))
	}
	b.WriteByte('\n')
	p.printPorts(&b, wide)
	p.printChecks(&b)
	p.printSettings(&b, wide)
	_, err := io.WriteString(w, b.String())
	return err
}

// String is "ADDRESS (INTERFACE)".
func (a PlanAddress) String() string {
	if a.Interface == "" {
		return a.Address
	}
	return fmt.Sprintf("%s (%s)", a.Address, a.Interface)
}

func (p Plan) printPorts(b *strings.Builder, wide bool) {
	if len(p.ServicePorts) == 0 {
		b.WriteString("No Service opens a node port.\n")
		return
	}
	c := newColumns(b)
	if wide {
		c.row("SERVICE", "PORT", "NODE PORT", "SCHEDULER", "POLICY", "ADDRESS", "MASQUERADE", "WEIGHT", "NODE", "REAL SERVERS")
	} else {
		c.row("SERVICE", "PORT", "NODE PORT", "SCHEDULER", "POLICY", "ADDRESS", "REAL SERVERS")
	}
	for _, port := range p.ServicePorts {
		port.rows(c, wide)
	}
	c.flush()
}

// rows is one line for each real server, the columns before it only where they change.
func (p PlanPort) rows(c *columns, wide bool) {
	service, none := p.Namespace+"/"+p.Service, []any{"-"}
	if wide {
		none = []any{"-", "-", "-", "-"}
	}
	line := func(head, addr []any, last string) { c.row(append(slices.Concat(head, addr), last)...) }
	if p.NodePort == 0 {
		line([]any{service, "-", "-", "-", "-"}, none, "not served: "+p.NotServed)
		return
	}
	name, extra := cmp.Or(p.PortName, fmt.Sprint(p.Port)), ""
	if wide && p.PortName != "" {
		name = fmt.Sprintf("%s (%d)", p.PortName, p.Port)
	}
	if p.Extra {
		extra = " extra"
	}
	head := []any{service, name, fmt.Sprintf("%d/%s%s", p.NodePort, strings.ToLower(p.Protocol), extra), p.Scheduler, p.Policy}
	if p.NotServed != "" {
		line(head, none, "not served: "+p.NotServed)
		return
	}
	for _, f := range p.Frontends {
		addr, masquerade := f.Address, f.Masquerade
		if !f.Served {
			masquerade = "-"
		}
		for _, l := range f.lines() {
			if wide {
				line(head, []any{addr, masquerade, cmp.Or(l.weight, "-"), cmp.Or(l.node, "-")}, l.text+l.note)
			} else {
				line(head, []any{addr}, l.String())
			}
			head, addr, masquerade = []any{"", "", "", "", ""}, "", ""
		}
	}
}

// planLine says one thing of a frontend: that it has a real server, or something about all of it.
type planLine struct {
	text, weight, node, note string
	// weighted: the weight says something.
	weighted bool
}

// String has the weight where that says something.
func (l planLine) String() string {
	if l.weighted {
		return l.text + " weight " + l.weight + l.note
	}
	return l.text + l.note
}

func (f PlanFrontend) lines() []planLine {
	var lines []planLine
	say := func(text string) { lines = append(lines, planLine{text: text}) }
	switch {
	case f.Holder != "":
		say("not served: Service " + f.Holder + " holds the port")
	case !f.Served:
		say("not served: " + f.Reason)
	case len(f.RealServers) == 0:
		say("none, connections are refused: " + f.Reason)
	}
	weighted := slices.ContainsFunc(f.Weights, func(w uint32) bool { return w != 1 })
	for i, real := range f.RealServers {
		l := planLine{text: real, weight: fmt.Sprint(f.Weights[i]), weighted: weighted}
		if i < len(f.Nodes) {
			l.node = f.Nodes[i]
		}
		lines = append(lines, l)
	}
	for _, addr := range f.Maintenance {
		lines = append(lines, planLine{text: addr, weight: "0", weighted: true, note: " (maintenance)"})
	}
	if f.NoClients != "" {
		say("nobody may connect: " + f.NoClients)
	}
	if f.Internal {
		say("for this node and its pods; connections from elsewhere are dropped: " + f.Reason)
	}
	return lines
}

// printChecks says what load balancers are answered, where any asks.
func (p Plan) printChecks(b *strings.Builder) {
	if len(p.HealthChecks) == 0 {
		return
	}
	b.WriteByte('\n')
	table := newColumns(b)
	table.row("SERVICE", "HEALTH CHECK PORT", "ADDRESS", "ANSWER")
	for _, c := range p.HealthChecks {
		service, port := c.Namespace+"/"+c.Service, fmt.Sprint(c.Port)
		if len(c.Addresses) == 0 {
			table.row(service, port, "-", "none: "+c.NotAnswered)
		}
		for _, a := range c.Addresses {
			table.row(service, port, a.Address, a.answer)
			service, port = "", ""
		}
	}
	table.flush()
}

// printSettings says what authors of Services chose, and what of it is in force.
func (p Plan) printSettings(b *strings.Builder, wide bool) {
	if len(p.Settings) == 0 {
		return
	}
	b.WriteByte('\n')
	c := newColumns(b)
	c.row("SERVICE", "SETTING", "WRITTEN", "IN FORCE")
	before := ""
	for _, s := range p.Settings {
		service, written := s.Namespace+"/"+s.Service, shortened(s.Written)
		if wide {
			written = s.Written
		}
		if service == before {
			service = ""
		} else {
			before = service
		}
		c.row(service, s.Name, written, s.inForce())
	}
	c.flush()
}

func (s PlanSetting) inForce() string {
	switch {
	case s.Reason == "":
		return s.InForce
	case s.InForce == "":
		return "not in force: " + s.Reason
	}
	return s.InForce + "; " + s.Reason
}
