package report

import (
	"fmt"
	"io"
	"strings"

	"github.com/kube-ipvs/kube-ipvs/sync"
)

// Table prints the status on one screen; wide has all lists, and a line for each Service port.
func (s Status) Table(w io.Writer, wide bool) error {
	if !s.Agent {
		return s.kernelTable(w)
	}
	fmt.Fprintf(w, "kube-ipvs %s on node %s: %s\n", sync.Printable(s.Version), sync.Printable(s.Node), s.Health.sentence(s))
	c := newColumns(w)
	c.row("  source", s.Source)
	t := s.Totals
	kernel := fmt.Sprintf("%s, %s, %d of them draining", plural(t.VirtualServers, "virtual server"), plural(t.RealServers, "real server"), t.Draining)
	if s.Incomplete == "" {
		s.addressRows(c, wide)
		c.row("  services", fmt.Sprintf("%d of %d served%s: %s", t.Served, t.Services, t.others(), kernel))
	} else {
		c.row("  services", "not known: "+s.Incomplete)
		c.row("  served", kernel)
	}
	c.row("  kernel", fmt.Sprintf("%s done, %d refused, %s repaired that others made",
		plural(int(t.Operations), "operation"), t.Refused, plural(int(t.DriftRepaired), "difference")))
	c.row("  loop", fmt.Sprintf("%s, %d failed, %.1fs of work", plural(int(t.Passes), "pass"), t.FailedPasses, t.BusySeconds))
	c.flush()
	s.notServedTable(w, wide)
	if wide {
		s.servicesTable(w)
	}
	if len(s.Foreign) > 0 {
		shown, more := firstFew(s.Foreign, wide)
		fmt.Fprintf(w, "\nVirtual servers that are not ours keep node ports open: %s\n", strings.TrimSpace(strings.Join(shown, ", ")+" "+more))
	}
	problemsTable(w, s.Problems, wide)
	return nil
}

// others are the Services that are not simply served.
func (t Totals) others() string {
	text := ""
	for _, n := range []struct {
		count int
		what  string
	}{{t.Partly, "in part"}, {t.NoEndpoints, "without endpoints"}, {t.NotServed, "not at all"}} {
		if n.count > 0 {
			text += fmt.Sprintf(", %d %s", n.count, n.what)
		}
	}
	return text
}

// kernelTable is what there is to say without an agent.
func (s Status) kernelTable(w io.Writer) error {
	fmt.Fprintf(w, "No agent answers in this network namespace. %s\n", s.Health.Reason)
	_, err := fmt.Fprintf(w, "  kernel   %s with %s, %d of them draining, are served by it alone\n",
		plural(s.Totals.VirtualServers, "virtual server"), plural(s.Totals.RealServers, "real server"), s.Totals.Draining)
	return err
}

// sentence is the health in a few words.
func (h Health) sentence(s Status) string {
	word := "not ready"
	switch {
	case h.Ready && s.Totals.NotServed > 0, h.Ready && len(s.Problems) > 0:
		word = "well, with problems"
	case h.Ready:
		word = "well"
	case !h.Alive:
		word = "stuck"
	}
	if h.Synced != nil {
		word += ", synced " + age(s.Time, *h.Synced)
	}
	if h.Reason != "" {
		word += "\n  because " + h.Reason
	}
	if h.Error != "" && !strings.Contains(h.Reason, h.Error) {
		word += "\n  failed last: " + h.Error
	}
	if h.Ineligible != "" {
		word += "\n  load balancers are told to leave this node alone: " + h.Ineligible
	}
	return word
}

func (s Status) addressRows(c *columns, wide bool) {
	var others []Address
	title := "  serves on"
	for _, a := range s.Addresses {
		if !a.Serves {
			others = append(others, a)
			continue
		}
		c.row(title, a.String())
		title = "  "
	}
	if title != "  " {
		c.row(title, "no address")
	}
	title = "  not on"
	shown, more := firstFew(others, wide)
	for _, a := range shown {
		c.row(title, a.String())
		title = "  "
	}
	if more != "" {
		c.row("  ", more)
	}
}

// String is the address as people read it: with its interface, and with what there is to say.
func (a Address) String() string {
	text := a.Address
	if a.Interface != "" {
		text += " (" + a.Interface + ")"
	}
	if a.Reason != "" {
		text += ": " + a.Reason
	}
	if a.Until != nil {
		text += ", until " + a.Until.Format("15:04:05")
	}
	return text
}

// notServedTable lists what is not simply served.
func (s Status) notServedTable(w io.Writer, wide bool) {
	type line struct {
		service ServiceStatus
		port    PortStatus
	}
	var lines []line
	for _, svc := range s.Services {
		for _, p := range svc.Ports {
			if p.State != Served {
				lines = append(lines, line{svc, p})
			}
		}
	}
	if len(lines) == 0 {
		return
	}
	fmt.Fprintf(w, "\nNot served, or not entirely:\n")
	c := newColumns(w)
	shown, more := firstFew(lines, wide)
	for _, l := range shown {
		c.row("  "+l.service.Namespace+"/"+l.service.Name, l.port.title(), l.port.State, l.port.Reason)
	}
	c.flush()
	if more != "" {
		fmt.Fprintf(w, "  %s\n", more)
	}
}

// title is the port as people write it: "http 30080/tcp".
func (p PortStatus) title() string {
	if p.NodePort == 0 {
		return "-"
	}
	return fmt.Sprintf("%s %d/%s", p.Port, p.NodePort, strings.ToLower(p.Protocol))
}

func (s Status) servicesTable(w io.Writer) {
	if len(s.Services) == 0 {
		fmt.Fprintf(w, "\nNo Service opens a node port.\n")
		return
	}
	fmt.Fprintln(w)
	c := newColumns(w)
	c.row("SERVICE", "PORT", "STATE", "SCHEDULER", "POLICY", "ENDPOINTS", "DRAINING", "NOT USED", "ADDRESSES")
	for _, svc := range s.Services {
		for _, p := range svc.Ports {
			c.row(svc.Namespace+"/"+svc.Name, p.title(), p.State, orDash(p.Scheduler), p.Policy, p.Endpoints, p.Draining, p.Others,
				orDash(strings.Join(p.Addresses, ",")))
		}
	}
	c.flush()
}

// firstOfEach are the problems that are shown: some of each kind, so that many of one do not hide the others.
func firstOfEach(problems []Problem, wide bool) (shown []Problem, more string) {
	if wide || len(problems) <= shownItems {
		return problems, ""
	}
	kinds := map[string]int{}
	for _, p := range problems {
		kinds[p.Reason]++
	}
	each := max(1, shownItems/len(kinds))
	seen := map[string]int{}
	for _, p := range problems {
		if seen[p.Reason]++; seen[p.Reason] <= each {
			shown = append(shown, p)
		}
	}
	return shown, fmt.Sprintf("and %d more (-o wide shows all)", len(problems)-len(shown))
}

// problemsTable lists problems, and says once for each kind what to do.
func problemsTable(w io.Writer, problems []Problem, wide bool) {
	if len(problems) == 0 {
		return
	}
	fmt.Fprintf(w, "\nProblems:\n")
	shown, more := firstOfEach(problems, wide)
	var kinds []Problem
	seen := map[string]bool{}
	c := newColumns(w)
	for _, p := range shown {
		c.row("  "+p.Reason, p.Object+": "+p.Message)
		if !seen[p.Reason] {
			seen[p.Reason] = true
			kinds = append(kinds, p)
		}
	}
	c.flush()
	if more != "" {
		fmt.Fprintf(w, "  %s\n", more)
	}
	fmt.Fprintf(w, "\nWhat to do:\n")
	for _, p := range kinds {
		c.row("  "+p.Reason, p.Advice)
	}
	c.flush()
}
