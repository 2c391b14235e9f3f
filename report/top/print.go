package top

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// Table prints a document; wide has columns for packets and for what was counted in all.
func (d Document) Table(w io.Writer, wide bool) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Node %s at %s", plain(d.Node), d.Time.Format(time.RFC3339))
	if d.Seconds > 0 {
		fmt.Fprintf(&b, ", rates over %.1f s", d.Seconds)
	}
	fmt.Fprintf(&b, "\n  %s\n  %s\n\n", d.what(), strings.Join(d.Total.words(), ", "))
	if len(d.Ports) > 0 {
		chosen := groups()
		if !wide {
			chosen = chosen[:needed+1]
		}
		d.rows(&b, choose(chosen))
	}
	if d.LeftOut > 0 {
		fmt.Fprintf(&b, "%s not shown\n", grouped(d.LeftOut))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// what says of what the rows are.
func (d *Document) what() string {
	if d.FromKernel {
		return "no agent: " + counted(d.Total.Ports, "virtual server", "virtual servers")
	}
	return counted(d.Total.Ports, "Service port", "Service ports")
}

// words are the totals, the most important first.
func (t *Total) words() []string {
	return []string{
		short(float64(t.Active)) + " active",
		rate(t.Rates, func(r *Rates) float64 { return r.Connections }) + " conn/s",
		"in " + throughput(t.Rates, func(r *Rates) float64 { return r.InBytes }),
		"out " + throughput(t.Rates, func(r *Rates) float64 { return r.OutBytes }),
		"in " + rate(t.Rates, func(r *Rates) float64 { return r.InPackets }) + " pkt/s",
		"out " + rate(t.Rates, func(r *Rates) float64 { return r.OutPackets }) + " pkt/s",
	}
}

// enough is no bound for a name.
const enough = 1 << 10

// rows prints the table, each column as wide as it needs to be.
func (d *Document) rows(b *strings.Builder, columns []column) {
	first := "SERVICE PORT"
	if d.FromKernel {
		first = "VIRTUAL SERVER"
	}
	cells := [][]string{{first}}
	for _, c := range columns {
		cells[0] = append(cells[0], c.title)
	}
	for i := range d.Ports {
		p := &d.Ports[i]
		line := []string{name(p)}
		for _, c := range columns {
			line = append(line, c.port(p))
		}
		cells = append(cells, line)
		for j := range p.List {
			line := []string{endpointName(p, &p.List[j], true, enough)}
			for _, c := range columns {
				line = append(line, c.endpoint(&p.List[j]))
			}
			cells = append(cells, line)
		}
	}
	widths := make([]int, len(columns)+1)
	for _, line := range cells {
		for i, cell := range line {
			widths[i] = max(widths[i], len(cell))
		}
	}
	for _, line := range cells {
		text := left(line[0], widths[0])
		for i := range columns {
			text += strings.Repeat(" ", gap+1) + columns[i].pad(line[i+1], widths[i+1])
		}
		fmt.Fprintln(b, strings.TrimRight(text, " "))
	}
}
