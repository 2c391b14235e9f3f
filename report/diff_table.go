package report

import (
	"fmt"
	"io"
	"strings"

	"github.com/kube-ipvs/kube-ipvs/sync"
)

// Table prints the differences, each with what would mend it.
func (d Difference) Table(w io.Writer, wide bool) error {
	draining := ""
	if d.Draining > 0 {
		draining = fmt.Sprintf(" (%s drain)", plural(d.Draining, "real server"))
	}
	switch {
	case d.Same() && d.NftablesUnknown != "":
		fmt.Fprintf(w, "Node %s: %s as it should be%s\n", sync.Printable(d.Node), plural(d.Compared, "virtual server"), draining)
	case d.Same():
		fmt.Fprintf(w, "Node %s: the kernel is as it should be, %s%s\n", sync.Printable(d.Node), plural(d.Compared, "virtual server"), draining)
	case len(d.Frontends) == 0:
		fmt.Fprintf(w, "Node %s: %s as it should be%s, the table of nftables is not\n", sync.Printable(d.Node), plural(d.Compared, "virtual server"), draining)
	default:
		fmt.Fprintf(w, "Node %s: %s of %d not as it should be%s\n", sync.Printable(d.Node), plural(len(d.Frontends), "virtual server"), d.Compared, draining)
	}
	shown, more := firstFew(d.Frontends, wide)
	for _, f := range shown {
		fmt.Fprintf(w, "\n%s  %s\n", f.Frontend, sync.Printable(orDash(f.Service)))
		for _, op := range f.Operations {
			fmt.Fprintf(w, "  %s\n", sync.Printable(op))
		}
		if f.Waiting != "" {
			fmt.Fprintf(w, "  tried and refused: %s\n", sync.Printable(f.Waiting))
		}
	}
	if more != "" {
		fmt.Fprintf(w, "\n%s\n", more)
	}
	if len(d.Nftables) > 0 {
		fmt.Fprintf(w, "\nTable inet kube-ipvs of nftables:\n")
		shown, more := firstFew(d.Nftables, wide)
		for _, line := range append(shown, more) {
			if line != "" {
				fmt.Fprintf(w, "  %s\n", sync.Printable(line))
			}
		}
	}
	if d.NftablesUnknown != "" {
		fmt.Fprintf(w, "\nTable inet kube-ipvs of nftables was not looked at: %s\n", sync.Printable(d.NftablesUnknown))
	}
	if len(d.Foreign) > 0 {
		shown, more := firstFew(d.Foreign, wide)
		fmt.Fprintf(w, "\nNot ours, and on node ports of this node: %s\n", strings.TrimSpace(strings.Join(shown, ", ")+" "+more))
	}
	return nil
}
