package result

import (
	"fmt"
	"strings"
)

// writes are all messages that change something in the kernel, of whatever kind.
func (u Usage) writes() uint64 {
	return u.IPVSWrites + u.NftWrites + u.NftCommits + u.IpsetWrites + u.IptablesWrites
}

func (u Usage) messages() uint64 { return u.writes() + u.IPVSReads + u.NftReads }

// each is a count for each of what was counted, "?" if it was not.
func (s series) each(count uint64) string {
	if s.counts == 0 {
		return "?"
	}
	return digits(float64(count) / float64(s.counts))
}

// counted is what stands beside a figure, for each of what was measured; "" if nothing was counted.
func (s series) counted() string {
	if s.counts == 0 {
		return ""
	}
	return fmt.Sprintf("%s system calls, %s messages to the kernel, %s programs", s.each(s.usage.Syscalls), s.each(s.usage.messages()), s.each(s.usage.Execs))
}

// besides is what stands beside a ratio, in the order of its sides.
func besides(top, bottom series) string {
	if top.counts == 0 && bottom.counts == 0 {
		return ""
	}
	return fmt.Sprintf("system calls %s / %s, messages to the kernel %s / %s, programs %s / %s",
		top.each(top.usage.Syscalls), bottom.each(bottom.usage.Syscalls), top.each(top.usage.messages()), bottom.each(bottom.usage.messages()),
		top.each(top.usage.Execs), bottom.each(bottom.usage.Execs))
}

// countHeads are the titles of countCells.
func countHeads() []string {
	return []string{"system calls", "programs executed", "writes to the kernel", "reads"}
}

// countCells are the counts as cells of a table.
func (s series) countCells() []string {
	if s.counts == 0 {
		return []string{"", "", "", ""}
	}
	u := s.usage
	return []string{
		s.each(u.Syscalls), s.each(u.Execs),
		s.kinds([]count{{"IPVS", u.IPVSWrites}, {"nftables", u.NftWrites + u.NftCommits}, {"ipset", u.IpsetWrites}, {"iptables", u.IptablesWrites}}),
		s.kinds([]count{{"IPVS", u.IPVSReads}, {"nftables", u.NftReads}}),
	}
}

type count struct {
	kind string
	n    uint64
}

// kinds are the counts that are not zero, or 0.
func (s series) kinds(all []count) string {
	var text []string
	for _, c := range all {
		if c.n > 0 {
			text = append(text, s.each(c.n)+" "+c.kind)
		}
	}
	if len(text) == 0 {
		return "0"
	}
	return strings.Join(text, ", ")
}

// cpu is the CPU time of each of what was counted, "" if it was not.
func (s series) cpu() string {
	if s.timed == 0 || s.usage.CPU == 0 {
		return ""
	}
	return Seconds.text(s.usage.CPU.Seconds() / float64(s.timed))
}

// spread is how far values lie from each other: all of them, and the half in the middle.
func (s series) spread() string {
	n := len(s.values)
	if n < 2 {
		return fmt.Sprintf("%d value", n)
	}
	low, high := s.values[0].text(s.unit), s.values[n-1].text(s.unit)
	if n < 8 {
		return fmt.Sprintf("%s to %s, %d values", low, high, n)
	}
	return fmt.Sprintf("half of %d in %s to %s, all in %s to %s", n, s.rank(n/4).text(s.unit), s.rank(n-1-n/4).text(s.unit), low, high)
}
