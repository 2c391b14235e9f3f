package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kube-ipvs/kube-ipvs/e2e/bench/result"
)

// minus is what was done between two readings.
func minus(after, before result.Usage) result.Usage {
	return result.Usage{
		CPU:            after.CPU - before.CPU,
		Syscalls:       after.Syscalls - before.Syscalls,
		Execs:          after.Execs - before.Execs,
		IPVSWrites:     after.IPVSWrites - before.IPVSWrites,
		IPVSReads:      after.IPVSReads - before.IPVSReads,
		NftWrites:      after.NftWrites - before.NftWrites,
		NftCommits:     after.NftCommits - before.NftCommits,
		NftReads:       after.NftReads - before.NftReads,
		IpsetWrites:    after.IpsetWrites - before.IpsetWrites,
		NetlinkSends:   after.NetlinkSends - before.NetlinkSends,
		IptablesWrites: after.IptablesWrites - before.IptablesWrites,
	}
}

// describe is a sample for somebody who watches the run.
func describe(s result.Sample) string {
	var b strings.Builder
	fmt.Fprintf(&b, "  %s %s", s.Subject, s.Measure)
	if s.Size > 0 {
		fmt.Fprintf(&b, " at %d", s.Size)
	}
	if s.Family != "" {
		fmt.Fprintf(&b, " %s", s.Family)
	}
	if len(s.Values) > 0 {
		bound := ""
		if s.AtLeast {
			bound = "> "
		}
		sorted := slices.Sorted(slices.Values(s.Values))
		fmt.Fprintf(&b, ": %s%.4g %s", bound, sorted[len(sorted)/2], s.Unit)
		if n := len(sorted); n > 1 {
			fmt.Fprintf(&b, " (%d from %.4g to %.4g)", n, sorted[0], sorted[n-1])
		}
	}
	if u := s.Usage; u != nil {
		fmt.Fprintf(&b, "; cpu %v", u.CPU)
		for _, c := range []struct {
			name string
			n    uint64
		}{
			{"syscalls", u.Syscalls},
			{"execs", u.Execs},
			{"ipvs writes", u.IPVSWrites},
			{"ipvs reads", u.IPVSReads},
			{"nft writes", u.NftWrites},
			{"nft commits", u.NftCommits},
			{"nft reads", u.NftReads},
			{"ipset writes", u.IpsetWrites},
			{"netlink sends", u.NetlinkSends},
			{"iptables writes", u.IptablesWrites},
		} {
			if c.n > 0 {
				fmt.Fprintf(&b, ", %s %d", c.name, c.n)
			}
		}
	}
	if s.Note != "" {
		fmt.Fprintf(&b, " [%s]", s.Note)
	}
	return b.String()
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}
