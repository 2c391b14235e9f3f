package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/kube-ipvs/kube-ipvs/nodeaddr"
	"github.com/kube-ipvs/kube-ipvs/sync"
)

func printSave(w io.Writer, p *plan) error { return p.state.Table().Save(w) }

// printNotInSave names the Services of which a table says less than the node does.
func printNotInSave(w io.Writer, s *sync.State) {
	var before sync.ServiceID
	for _, v := range s.View() {
		served := slices.ContainsFunc(v.Frontends, func(f sync.FrontendView) bool { return f.Served && f.Restricted })
		if served && v.Service != before {
			fmt.Fprintf(w, "Service %s: its source ranges are not in a table for ipvsadm, which lets everybody connect\n", v.Service)
			before = v.Service
		}
	}
}

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
	printPorts(&b, p.state.View())
	printChecks(&b, p.state.ViewChecks())
	printSettings(&b, p.state.ViewSettings())
	_, err := io.WriteString(w, b.String())
	return err
}

func printPorts(b *strings.Builder, views []sync.PortView) {
	if len(views) == 0 {
		b.WriteString("No Service opens a node port.\n")
		return
	}
	t := tabwriter.NewWriter(b, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "SERVICE\tPORT\tNODE PORT\tSCHEDULER\tPOLICY\tADDRESS\tREAL SERVERS")
	for _, v := range views {
		printPort(t, v)
	}
	_ = t.Flush() // into b
}

// printChecks says what load balancers are answered, where any asks.
func printChecks(b *strings.Builder, views []sync.CheckView) {
	if len(views) == 0 {
		return
	}
	b.WriteByte('\n')
	t := tabwriter.NewWriter(b, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "SERVICE\tHEALTH CHECK PORT\tADDRESS\tANSWER")
	for _, v := range views {
		head := fmt.Sprintf("%s\t%d", v.Service, v.Port)
		if len(v.Addresses) == 0 {
			fmt.Fprintf(t, "%s\t-\tnone: %s\n", head, v.NotAnswered)
		}
		for _, a := range v.Addresses {
			fmt.Fprintf(t, "%s\t%s\t%s\n", head, a.Addr, checkAnswer(a))
			head = "\t"
		}
	}
	_ = t.Flush() // into b
}

func checkAnswer(a sync.CheckAddressView) string {
	switch {
	case !a.Answered:
		return "none: Service " + a.Holder.String() + " holds the port"
	case a.LocalEndpoints == 0:
		return "503: no ready endpoint on this node"
	case a.LocalEndpoints == 1:
		return "200: 1 ready endpoint on this node"
	}
	return fmt.Sprintf("200: %d ready endpoints on this node", a.LocalEndpoints)
}

// realTexts are real servers, with their weights where those say something.
func realTexts(reals []sync.RealView) []string {
	weighted := slices.ContainsFunc(reals, func(r sync.RealView) bool { return r.Weight != 1 })
	texts := make([]string, len(reals))
	for i, r := range reals {
		texts[i] = r.Addr.String()
		if weighted {
			texts[i] += fmt.Sprintf(" weight %d", r.Weight)
		}
	}
	return texts
}

// printSettings says what authors of Services chose, and what of it is in force.
func printSettings(b *strings.Builder, views []sync.SettingsView) {
	if len(views) == 0 {
		return
	}
	b.WriteByte('\n')
	t := tabwriter.NewWriter(b, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "SERVICE\tSETTING\tWRITTEN\tIN FORCE")
	for _, v := range views {
		service := v.Service.String()
		for _, s := range v.Settings {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", service, s.Name, shortened(s.Written), inForce(s))
			service = ""
		}
	}
	_ = t.Flush() // into b
}

func inForce(s sync.Setting) string {
	switch {
	case s.Why == "":
		return s.InForce
	case s.InForce == "":
		return "not in force: " + s.Why
	}
	return s.InForce + "; " + s.Why
}

// shownValue is how much of a value is shown to people: it may be a list of thousands, and have any character in it.
const shownValue = 60

func shortened(value string) string {
	quoted := strconv.Quote(value)
	text := quoted[1 : len(quoted)-1]
	if runes := []rune(text); len(runes) > shownValue {
		text = string(runes[:shownValue]) + "..."
	}
	return text
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
	extra := ""
	if v.Extra {
		extra = " extra"
	}
	head := fmt.Sprintf("%s\t%s\t%d/%s%s\t%s\t%s", v.Service, cmp.Or(v.Name, fmt.Sprint(v.Port)), v.NodePort, v.Protocol, extra, v.Scheduler, v.Policy)
	if v.NotServed != "" {
		fmt.Fprintf(t, "%s\t-\tnot served: %s\n", head, v.NotServed)
		return
	}
	for _, f := range v.Frontends {
		var lines []string
		switch {
		case f.Obstacle != "":
			lines = []string{"not served: " + f.Obstacle}
		case !f.Served:
			lines = []string{"not served: Service " + f.Holder.String() + " holds the port"}
		case len(f.Reals) == 0:
			lines = []string{"none, connections are refused: " + f.Why}
		default:
			lines = append(lines, realTexts(f.Reals)...)
		}
		for _, addr := range f.Maintenance {
			lines = append(lines, addr.String()+" weight 0 (maintenance)")
		}
		if f.NoClients != "" {
			lines = append(lines, "nobody may connect: "+f.NoClients)
		}
		if f.Internal {
			lines = append(lines, "for this node and its pods; connections from elsewhere are dropped: "+f.Why)
		}
		addr := f.Key.Addr.String()
		for _, line := range lines {
			fmt.Fprintf(t, "%s\t%s\t%s\n", head, addr, line)
			head, addr = "\t\t\t\t", ""
		}
	}
}
