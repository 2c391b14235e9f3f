package report

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/sync"
)

// Difference is what is wanted against what the kernel has: what a pass would write that ran now.
type Difference struct {
	Node string    `json:"node"`
	Time time.Time `json:"time"`
	// Compared is how many virtual servers of ours were looked at, wanted or present.
	Compared int `json:"compared"`
	// Draining real servers are no difference: they wait for their connections to end.
	Draining  int            `json:"draining"`
	Frontends []FrontendDiff `json:"frontends"`
	// Nftables are the differences of our nftables table, one a line.
	Nftables []string `json:"nftables"`
	// NftablesUnknown says why that was not looked at; empty if it was.
	NftablesUnknown string `json:"nftablesUnknown,omitempty"`
	// Foreign are virtual servers on node ports of this node that are not ours, as ADDRESS:PORT/protocol.
	Foreign []string `json:"foreign"`
}

// FrontendDiff are the differences of one virtual server.
type FrontendDiff struct {
	Frontend string `json:"frontend"`          // ADDRESS:PORT/protocol
	Service  string `json:"service,omitempty"` // NAMESPACE/NAME, if one wants it
	// Operations would make the kernel right.
	Operations []string `json:"operations"`
	// Waiting is what the kernel refused when that was last tried.
	Waiting string `json:"waiting,omitempty"`
}

// Same reports that nothing differs.
func (d Difference) Same() bool { return len(d.Frontends)+len(d.Nftables) == 0 }

// Only leaves those differences that another comparison found as well.
func (d Difference) Only(o Difference) Difference {
	other := map[string]bool{} // frontends, and lines about nftables, which begin otherwise
	for _, f := range o.Frontends {
		other[f.Frontend] = true
	}
	for _, line := range o.Nftables {
		other[line] = true
	}
	d.Frontends = slices.DeleteFunc(d.Frontends, func(f FrontendDiff) bool { return !other[f.Frontend] })
	d.Nftables = slices.DeleteFunc(d.Nftables, func(line string) bool { return !other[line] })
	return d
}

// Diff compares what is wanted with a kernel's IPVS table and with what was read of our nftables table, which is nil if
// nobody read it.
func Diff(node string, o *sync.Overview, kernel ipvs.Table, table *filter.State) Difference {
	keys := o.OurKeys()
	d := Difference{Node: node, Time: o.Time, Compared: len(keys), Frontends: []FrontendDiff{}, Nftables: []string{}, Foreign: []string{}}
	have, next := o.Next(kernel, keys)
	for _, key := range keys {
		d.Draining += len(o.Departing(key))
		plan := ipvs.Diff(have.Only([]frontend.Key{key}), next.Only([]frontend.Key{key}))
		_, stuck := o.Stuck(key)
		if len(plan) == 0 && stuck == nil {
			continue
		}
		f := FrontendDiff{Frontend: keyText(key), Operations: []string{}}
		if want, wanted := o.Want(key); wanted {
			f.Service = want.Service.String()
		}
		for _, op := range plan {
			f.Operations = append(f.Operations, withoutKey(op))
		}
		if stuck != nil { // without operations it is nftables that is otherwise than it should be
			f.Waiting = stuck.Error()
		}
		d.Frontends = append(d.Frontends, f)
	}
	if table != nil {
		d.Nftables = append(d.Nftables, rulesDiff(o.Rules, *table)...)
	}
	var own []netip.Addr
	for _, a := range o.All {
		if !a.OfServices() {
			own = append(own, a.Addr)
		}
	}
	for _, key := range sync.Foreign(kernel, own, o.NodePortRange, o.Ours) {
		d.Foreign = append(d.Foreign, keyText(key))
	}
	return d
}

// withoutKey is an operation without the frontend that it stands under.
func withoutKey(op ipvs.Op) string {
	return strings.Replace(op.String(), " "+op.Key.String(), "", 1)
}

// rulesDiff says what an nftables table lacks of rules, and what it has beside them.
func rulesDiff(want filter.Rules, found filter.State) []string {
	if !found.Present {
		return []string{"the table is missing: no client is masqueraded, and no source range holds"}
	}
	var lines []string
	if !found.Intact {
		lines = append(lines, "the table is damaged: a set, chain or rule is missing or another")
	}
	for _, s := range found.Stray {
		lines = append(lines, "not readable: "+s)
	}
	lines = append(lines, mapDiff("owned", want.Owned, found.Rules.Owned, func(struct{}) string { return "" })...)
	lines = append(lines, mapDiff("masquerade", want.Masquerade, found.Rules.Masquerade, filter.Masquerade.String)...)
	lines = append(lines, mapDiff("internal", want.Internal, found.Rules.Internal, func(struct{}) string { return "" })...)
	lines = append(lines, mapDiff("sources", want.Sources, found.Rules.Sources, (*filter.Sources).String)...)
	if !slices.Equal(want.Pods, found.Rules.Pods) {
		lines = append(lines, fmt.Sprintf("pods: %v is wanted, %v is there", want.Pods, found.Rules.Pods))
	}
	return lines
}

// mapDiff compares what two tables say of frontends.
func mapDiff[V any](what string, want, have map[frontend.Key]V, text func(V) string) []string {
	var keys []frontend.Key
	for _, m := range []map[frontend.Key]V{want, have} {
		for key := range m {
			keys = append(keys, key)
		}
	}
	slices.SortFunc(keys, frontend.Key.Compare)
	var lines []string
	for _, key := range slices.Compact(keys) {
		w, wanted := want[key]
		h, there := have[key]
		switch {
		case wanted && !there:
			lines = append(lines, strings.TrimSpace(fmt.Sprintf("%s: %s is missing %s", what, keyText(key), text(w))))
		case !wanted:
			lines = append(lines, strings.TrimSpace(fmt.Sprintf("%s: %s is there and should not be %s", what, keyText(key), text(h))))
		case text(w) != text(h):
			lines = append(lines, fmt.Sprintf("%s: %s is %s instead of %s", what, keyText(key), text(h), text(w)))
		}
	}
	return lines
}
