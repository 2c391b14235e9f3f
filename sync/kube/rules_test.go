package kube

import (
	"bytes"
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/kube-ipvs/kube-ipvs/allocator"
	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/nodeaddr"
	"github.com/kube-ipvs/kube-ipvs/sync"
)

// Each testdata/rules/NAME.yaml is one rule of Kubernetes: the comment on top states it and where upstream has it,
// NAME.golden is what node-a serves by it, on its primary addresses. A file without a Node is for one with the addresses
// 10.1.0.10 and fd01::10. Lines of the comment such as "# --service-proxy-name=X" are flags of the agent; with
// --node-addresses those are the addresses.
func TestRules(t *testing.T) {
	scenarios(t, "testdata/rules", func(t *testing.T, content []byte) string {
		options, static, bounds := ruleOptions(t, content)
		update, err := ReadManifests("-", bytes.NewReader(content), options)
		must(t, err)
		addrs := []netip.Addr{netip.MustParseAddr("10.1.0.10"), netip.MustParseAddr("fd01::10")}
		if update.Node != nil {
			addrs = update.Node.Primary()
		}
		primary := addrs
		if len(static) > 0 {
			addrs = nil
		}
		for _, a := range static {
			addrs = append(addrs, a.Addr)
		}
		return renderServed(serveAt(nodeaddr.Places(addrs, static, primary, nil), update, bounds))
	})
}

// ruleOptions reads the comment on top of a rule, which has to state the rule.
func ruleOptions(t *testing.T, content []byte) (options Options, static []nodeaddr.Address, bounds sync.Bounds) {
	t.Helper()
	options = testOptions()
	options.NodeNeeded = false
	var networks []string
	words := 0
	for line := range strings.Lines(string(content)) {
		comment, is := strings.CutPrefix(strings.TrimSpace(line), "# ")
		if !is {
			break
		}
		switch flag, value, _ := strings.Cut(comment, "="); {
		case flag == "--service-proxy-name":
			options.ServiceProxyName = value
		case flag == "--network":
			networks = append(networks, value)
		case flag == "--extra-port-range":
			var err error
			options.ExtraPorts, err = allocator.ParsePorts(value)
			must(t, err)
		case flag == "--nodeport-source-ranges":
			options.SpecSourceRanges = value == "spec"
		case flag == "--node-addresses":
			var err error
			static, err = nodeaddr.ParseStatic([]string{value})
			must(t, err)
		case flag == "--max-services":
			bounds.Services = limit(t, value)
		case flag == "--max-virtual-servers":
			bounds.VirtualServers = limit(t, value)
		case flag == "--max-real-servers":
			bounds.RealServers = limit(t, value)
		case strings.HasPrefix(flag, "--"):
			t.Fatalf("unknown flag %s", flag)
		default:
			words += len(strings.Fields(comment))
		}
	}
	if words < 10 {
		t.Fatal("no comment states the rule and its source")
	}
	var err error
	options.Networks, err = nodeaddr.ParseNetworks(networks)
	must(t, err)
	return options, static, bounds
}

func limit(t *testing.T, text string) int {
	t.Helper()
	n, err := strconv.Atoi(text)
	must(t, err)
	return n
}

// serve is the state of a node with these addresses.
func serve(addrs []netip.Addr, update sync.Update) *sync.State {
	return serveAt(nodeaddr.Places(addrs, nil, nil, nil), update, sync.Bounds{})
}

func serveAt(places []nodeaddr.Place, update sync.Update, bounds sync.Bounds) *sync.State {
	s := sync.NewState(sync.Defaults{Scheduler: "rr", Masquerade: filter.MasqueradeAll, Bounds: bounds})
	s.Update(update)
	s.SetPlaces(places)
	s.Resolve()
	return s
}

// renderServed writes what a node serves, and what is wrong.
func renderServed(s *sync.State) string {
	text := renderPorts(s)
	for _, p := range s.Problems() {
		text += renderProblem(p)
	}
	return text
}

// renderPorts writes for each Service port the virtual servers as the table has them, with their real servers.
func renderPorts(s *sync.State) string {
	var b strings.Builder
	for _, v := range s.View() {
		fmt.Fprint(&b, v.Service)
		if v.NodePort != 0 { // else it is not known which port it is that cannot be served
			fmt.Fprintf(&b, " %s %d/%s %s", cmp.Or(v.Name, "-"), v.NodePort, v.Protocol, v.Policy)
		}
		if v.NotServed != "" {
			fmt.Fprintf(&b, ": not served: %s", v.NotServed)
		}
		b.WriteByte('\n')
		for _, f := range v.Frontends {
			renderFrontend(&b, s, f)
		}
	}
	if b.Len() == 0 {
		b.WriteString("nothing is served\n")
	}
	return b.String()
}

func renderFrontend(b *strings.Builder, s *sync.State, f sync.FrontendView) {
	if !f.Served {
		fmt.Fprintf(b, "  %s held by %s\n", f.Key, f.Holder)
		return
	}
	frontend, _ := s.Want(f.Key)
	fmt.Fprintf(b, "  %s %s, masquerades %s\n", f.Key, frontend.Entry.VirtualServer, f.Masquerade)
	if frontend.Sources != nil {
		fmt.Fprintf(b, "    clients: %s\n", frontend.Sources)
	}
	if frontend.SlowStart != 0 {
		fmt.Fprintf(b, "    slow start: %s\n", frontend.SlowStart)
	}
	if frontend.DrainTimeout != 0 {
		fmt.Fprintf(b, "    drain timeout: %s\n", frontend.DrainTimeout)
	}
	for _, real := range f.Reals {
		fmt.Fprintf(b, "    %s %s\n", real.Addr, frontend.Entry.Reals[real.Addr])
	}
	var quiet []netip.AddrPort
	for addr := range frontend.Quiet {
		quiet = append(quiet, addr)
	}
	slices.SortFunc(quiet, netip.AddrPort.Compare)
	for _, addr := range quiet {
		fmt.Fprintf(b, "    %s only finishes what it has\n", addr)
	}
	switch {
	case f.Internal:
		fmt.Fprintf(b, "    for the node and its pods: %s\n", f.Why)
	case f.Why != "":
		fmt.Fprintf(b, "    none: %s\n", f.Why)
	}
}
