package result

import (
	"fmt"
	"slices"
	"strings"
)

// table is one of Markdown. Columns of which no row has anything are left out.
type table struct {
	heads []string
	rows  [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// String is the table, or "" if it has no rows.
func (t table) String() string {
	if len(t.rows) == 0 {
		return ""
	}
	empty := func(column int) bool {
		return !slices.ContainsFunc(t.rows, func(row []string) bool { return row[column] != "" })
	}
	var b strings.Builder
	line := func(cells []string) {
		b.WriteByte('|')
		for i, c := range cells {
			if !empty(i) {
				fmt.Fprintf(&b, " %s |", cell(c))
			}
		}
		b.WriteByte('\n')
	}
	line(t.heads)
	line(slices.Repeat([]string{"---"}, len(t.heads)))
	for _, row := range t.rows {
		line(row)
	}
	return b.String()
}

// cell is text that does not end its cell.
func cell(text string) string {
	return strings.NewReplacer("|", `\|`, "\n", "<br>", "<", "&lt;").Replace(strings.TrimSpace(text))
}

// section is a part of the results.
type section struct {
	Title, Before, Table, Picture, Alt string
}

// sections are the results in tables. A section without a value is left out.
func (r Run) sections() []section {
	all := []section{
		{Title: "Cold start", Before: cold, Table: r.times(Cold).String(), Picture: "performance-cold.svg"},
		{Title: "One endpoint changed, from its arrival", Before: arrival, Table: r.times(Arrival).String(), Picture: "performance-change.svg"},
		{Title: "One endpoint changed, from the patch", Before: patch, Table: r.times(Patch).String(), Picture: "performance-patch.svg"},
		{Title: "CPU time of a burst", Before: burst, Table: r.times(Burst).String()},
		{Title: "Memory", Before: memory, Table: r.memory().String(), Picture: "performance-memory.svg"},
		{Title: "Restart with nothing changed", Before: restart, Table: r.times(Restart).String()},
		{Title: "A minute in which nothing changes", Before: steady, Table: r.times(Steady).String()},
		{Title: "Data path", Before: datapath, Table: r.pairs().String(), Picture: "performance-datapath.svg"},
		{Title: "Hooks and rules on a packet's way", Before: passes, Table: r.passes().String()},
		{Title: "Floors", Before: floors, Table: r.floors().String()},
	}
	return slices.DeleteFunc(all, func(s section) bool { return s.Table == "" })
}

const (
	cold    = "From the start of the process until the kernel has every virtual server, chain and real server."
	arrival = "One endpoint of one Service is replaced, one change after the other. The clock runs from the moment at which the event is written to the program's watch until the kernel has the new endpoint. " +
		"`bare-change` is the floor: the least program behind the same gauge, with the same changes and rests."
	patch = "The same changes, from before the patch is sent to the API server: with the API server's own time and the way to it, which are the same for all."
	burst = "CPU time of the program and of all that it executes, for each change: 1,000 changes (`-burst`) by 8 writers at a time, as fast as the API server takes " +
		"them. It counts until the program has come to rest and the real servers that were replaced are gone. Who waits for more changes before a pass does fewer passes."
	memory  = "Resident set of the program, a while after everything was written (at rest), and its greatest. Programs that it executes are not in it. Each is one value."
	restart = "From the start of a new process to the end of its first pass, on a kernel that has everything already. What was \"counted in a start of its own\" was timed in another one, " +
		"without counters; what was not, was timed with them, and took longer for it. There is no ratio between the two. CPU is that of the counted start."
	steady = "CPU time of one minute without a change, of the program and all that it executes, and what the kernel was asked in it."
	passes = "Base chains of nftables or iptables that a packet to a node port enters on the node, and rules that are looked at in them and in " +
		"the chains that it is sent to: of the packet that opens a connection · its answer · a later request · the answer to that one."
	datapath = "Requests of 64 bytes through the node port, in pairs: right before or after, the same was done through a virtual server made by hand with ipvsadm and one masquerade rule, " +
		"and to the pod directly. Both were measured again beside each program: their rows are below it, and what is slow there was slow beside a busy program. " +
		"The columns \"by that of by-hand\" are the medians of the pairs' ratios, with their spread: of requests and new connections more is better, of latency less, as the picture's arrows say. " +
		"There is one pod, on the same node, beside the least number of Services (100 by default). \"by-hand, again\" is the control: a second virtual server made by hand, in the program's place."
	floors = "What writing to IPVS costs with nothing around it, for the same virtual servers and real servers, each in a fresh network namespace."
)

// times is the table of a measure, with each subject's ratio to kube-ipvs.
func (r Run) times(m Measure) *table {
	t := &table{heads: slices.Concat([]string{"Services", "", title(m), "p99", "p99/p50", "values", "by that of kube-ipvs"}, countHeads(), []string{"CPU", "remarks"})}
	for _, size := range r.sizes(m) {
		for _, subject := range r.subjects(m) {
			s := r.of(subject, m, size)
			if len(s.values) == 0 { // it stands in failures
				continue
			}
			p99, tail := "", ""
			if v, ok := s.percentile(99); ok {
				p99 = v.text(s.unit)
			}
			if q, ok := s.tail(); ok {
				tail = times(q)
			}
			cpu := s.cpu()
			if m == Burst || m == Steady {
				cpu = ""
			}
			t.add(slices.Concat(
				[]string{thousands(fmt.Sprint(size)), subject, s.text(), p99, tail, fmt.Sprint(len(s.values)), r.ratio(subject, m, size)},
				s.countCells(), []string{cpu, strings.Join(s.notes, "; ")},
			)...)
		}
	}
	return t
}

func title(m Measure) string {
	switch m {
	case Arrival, Patch:
		return "p50, or all values"
	case Burst:
		return "CPU time of a change"
	case Steady:
		return "CPU time of a minute"
	case Memory:
		return "at rest"
	default:
		return "time"
	}
}

// ratio is a subject's median by that of kube-ipvs.
func (r Run) ratio(subject string, m Measure, size int) string {
	ours, ok := r.of(KubeIPVS, m, size).median()
	theirs, ok2 := r.of(subject, m, size).median()
	q, ok3 := theirs.over(ours)
	if !ok || !ok2 || !ok3 || subject == KubeIPVS || !r.comparable(subject, m, size) {
		return ""
	}
	return times(q)
}

// comparable is whether a subject and kube-ipvs were measured alike: a restart may be timed with counters or without, and its note says which.
func (r Run) comparable(subject string, m Measure, size int) bool {
	return m != Restart || slices.Equal(r.of(subject, m, size).notes, r.of(KubeIPVS, m, size).notes)
}

func (r Run) memory() *table {
	t := &table{heads: []string{"Services", "", "at rest", "greatest", "at rest, by that of kube-ipvs", "remarks"}}
	for _, size := range r.sizes(Memory, MemoryPeak) {
		for _, subject := range r.subjects(Memory, MemoryPeak) {
			rest, peak := r.of(subject, Memory, size), r.of(subject, MemoryPeak, size)
			if len(rest.values)+len(peak.values) > 0 {
				notes := rest.notes
				if r.unfinished(subject, size) {
					notes = append(notes, unfinished)
				}
				t.add(thousands(fmt.Sprint(size)), subject, rest.text(), peak.text(), r.ratio(subject, Memory, size), strings.Join(notes, "; "))
			}
		}
	}
	return t
}

// pairs has the other sides below each subject: they were measured again beside each, and are not alike beside one that is busy.
func (r Run) pairs() *table {
	t := &table{heads: []string{
		"", "", "requests (more is better)", "by that of by-hand", "latency p50 (less is better)", "p99", "by that of by-hand",
		"new connections (more is better)", "by that of by-hand", "remarks",
	}}
	measured := r.subjects(Requests, Latency, Connects, PairRequests, PairLatency, PairConnects)
	sides := []string{ByHand, PodDirect}
	for _, family := range families() {
		for _, subject := range measured {
			if slices.Contains(sides, subject) {
				continue
			}
			t.addPairs(family, subject, func(m Measure) series { return r.through(subject, m, family) })
			for _, side := range sides {
				t.addPairs(family, side+", beside it", func(m Measure) series { return r.throughBeside(side, subject, m, family) })
			}
		}
		for _, side := range sides {
			t.addPairs(family, side, func(m Measure) series { return r.throughBeside(side, "", m, family) })
		}
	}
	return t
}

// addPairs adds a row of the data path, if anything was measured.
func (t *table) addPairs(family, name string, of func(Measure) series) {
	cells, rest := []string{familyName(family), name}, true
	for _, kind := range [][2]Measure{{Requests, PairRequests}, {Latency, PairLatency}, {Connects, PairConnects}} {
		alone, paired := of(kind[0]), of(kind[1])
		rest = rest && alone.rest && paired.rest
		middle, ok := alone.median()
		cells = append(cells, optional(middle, ok, alone.unit))
		if kind[0] == Latency {
			p99, ok := alone.percentile(99)
			cells = append(cells, optional(p99, ok, alone.unit))
		}
		middle, ok = paired.median()
		text := optional(middle, ok, Ratio)
		if ok {
			text += " (" + paired.spread() + ")"
		}
		cells = append(cells, text)
	}
	if !slices.ContainsFunc(cells[2:], func(c string) bool { return c != "" }) {
		return
	}
	remark := ""
	if !rest {
		remark = NotAtRest
	}
	t.add(append(cells, remark)...)
}

func optional(s span, ok bool, u Unit) string {
	if !ok {
		return ""
	}
	return s.text(u)
}

func (r Run) passes() *table {
	t := &table{heads: []string{"", "", "hooks", "rules"}}
	for _, family := range families() {
		for _, subject := range r.subjects(Hooks, Rules) {
			hooks, rules := r.passed(subject, Hooks, family), r.passed(subject, Rules, family)
			if len(hooks)+len(rules) > 0 {
				t.add(familyName(family), subject, spans(hooks), spans(rules))
			}
		}
	}
	return t
}

// floors has a row for each sample: kube-ipvs's own account and ipvs.Apply alone are not the same.
func (r Run) floors() *table {
	t := &table{heads: []string{"Services", "", "time", "by that of " + BareBatched, "remarks"}}
	for _, size := range r.sizes(Programming) {
		bare, ok := r.of(BareBatched, Programming, size).median()
		for _, subject := range r.subjects(Programming) {
			for _, sample := range r.Samples {
				if sample.Subject != subject || sample.Measure != Programming || sample.Size != size {
					continue
				}
				var s series
				s.add(sample)
				ratio := ""
				if middle, has := s.median(); has && ok && subject != BareBatched {
					if q, ok := middle.over(bare); ok {
						ratio = times(q)
					}
				}
				t.add(thousands(fmt.Sprint(size)), subject, s.text(), ratio, sample.Note)
			}
		}
	}
	return t
}
