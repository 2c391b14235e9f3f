package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/kube-ipvs/kube-ipvs/e2e/chaos/job"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/agent"
	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/host"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

const (
	// drainPatience is how long real servers may take to go once nobody has a connection: the agent waits until they are idle for three
	// seconds, and what the kernel counts as closing takes two minutes at most.
	drainPatience = 150 * time.Second
	// convergePatience is how long the agent may take from then on until all is as planned: two audits.
	convergePatience = 65 * time.Second
)

// lookAfterwards holds what is there against what should be.
func (r *runner) lookAfterwards(ctx context.Context) error {
	if err := r.awaitDrained(ctx); err != nil {
		return err
	}
	p, err := r.plan(ctx)
	if err != nil {
		return err
	}
	r.check("IPVS is what `kube-ipvs plan` says", func() (string, error) { return r.tableIsAsPlanned(ctx, p) })
	r.check("the nftables table is what follows from it", func() (string, error) { return r.rulesAreAsPlanned(ctx, p) })
	r.check("no flow of UDP in conntrack leads to an endpoint that has gone", func() (string, error) { return r.noStaleFlow(p) })
	r.check("the sysctls are set", r.sysctlsAreSet)
	r.check("the agent is small", func() (string, error) { return r.agentIsSmall(ctx) })
	return nil
}

// check looks at one thing and notes what it found.
func (r *runner) check(what string, f func() (string, error)) {
	found, err := f()
	c := job.Check{What: what, Found: found, Problem: text(err)}
	r.result.Checks = append(r.result.Checks, c)
	if err != nil {
		r.say("NOT as it should be: %s: %v", what, err)
		return
	}
	r.say("as it should be: %s (%s)", what, found)
}

// awaitDrained returns when no real server waits for its connections.
func (r *runner) awaitDrained(ctx context.Context) error {
	begin := time.Now()
	limited, cancel := context.WithTimeout(ctx, drainPatience)
	defer cancel()
	err := agent.Eventually(limited, "nothing drains", func() error {
		all, err := r.agent.current().Metrics(limited)
		var draining float64
		if err == nil {
			draining, err = value(all, "kube_ipvs_real_servers_draining")
		}
		if draining > 0 {
			err = fmt.Errorf("%v real servers do", draining)
		}
		if err != nil {
			_ = pause(limited, time.Second)
		}
		return err
	})
	if err == nil {
		r.say("nothing drains after %v", time.Since(begin).Round(100*time.Millisecond))
	}
	return err
}

func (r *runner) tableIsAsPlanned(ctx context.Context, p planned) (string, error) {
	limited, cancel := context.WithTimeout(ctx, convergePatience)
	defer cancel()
	begin := time.Now()
	err := agent.Eventually(limited, "as planned", func() error {
		now, err := agent.Table(limited, r.world.net.Node1)
		if err == nil && !now.Equal(p.table) {
			err = errors.New("it lacks:\n" + head(ipvs.Diff(now, p.table).String(), 20))
		}
		if err != nil {
			_ = pause(limited, time.Second)
		}
		return err
	})
	if err != nil {
		return "", err
	}
	reals := 0
	for _, entry := range p.table {
		reals += len(entry.Reals)
	}
	if reals == 0 {
		return "", errors.New("nothing is planned that serves")
	}
	r.result.VirtualServers, r.result.RealServers = len(p.table), reals
	return fmt.Sprintf("%d virtual and %d real servers, after %v", len(p.table), reals, time.Since(begin).Round(time.Millisecond)), nil
}

func (r *runner) rulesAreAsPlanned(ctx context.Context, p planned) (string, error) {
	var state filter.State
	err := r.world.net.Node1.Do(func() error {
		table, err := filter.Open(filter.Options{})
		if err == nil {
			state, err = table.Read(ctx)
		}
		return err
	})
	switch {
	case err != nil:
		return "", err
	case !state.Intact:
		return "", fmt.Errorf("it is not intact; strays: %v", state.Stray)
	case len(p.rules.Owned) == 0:
		return "", errors.New("nothing is planned")
	case !state.Rules.Equal(p.rules):
		return "", fmt.Errorf("owned: %d and not %d; masquerade: %d and not %d; internal: %d and not %d; pods: %v and not %v",
			len(state.Rules.Owned), len(p.rules.Owned), len(state.Rules.Masquerade), len(p.rules.Masquerade),
			len(state.Rules.Internal), len(p.rules.Internal), state.Rules.Pods, p.rules.Pods)
	}
	return fmt.Sprintf("%d frontends are marked as ours, clients of %d are masqueraded", len(p.rules.Owned), len(p.rules.Masquerade)), nil
}

// noStaleFlow looks at all entries of conntrack whose original destination is a virtual server of UDP. What came while its address was not on
// the node was forwarded, and is expected to be answered from there: the kernel forgets it with the next datagram, which leaves by another device.
func (r *runner) noStaleFlow(p planned) (string, error) {
	flows, own, stale := 0, 0, []string{}
	err := r.world.net.Node1.Do(func() error {
		for _, family := range []netlink.InetFamily{unix.AF_INET, unix.AF_INET6} {
			all, err := netlink.ConntrackTableList(netlink.ConntrackTable, family)
			if err != nil {
				return fmt.Errorf("read conntrack: %w", err)
			}
			for _, e := range all {
				if e.Forward.Protocol != unix.IPPROTO_UDP {
					continue
				}
				to, answers := addrPort(e.Forward.DstIP, e.Forward.DstPort), addrPort(e.Reverse.SrcIP, e.Reverse.SrcPort)
				entry, served := p.udp(to)
				if _, known := entry.Reals[answers]; served && known {
					flows++
				} else if answers.Addr() == to.Addr() && r.world.comesAndGoes(to.Addr()) {
					own++
				} else if served || realOf(answers.Addr()) {
					stale = append(stale, fmt.Sprintf("to %s, answered by %s", to, answers))
				}
			}
		}
		return nil
	})
	if err == nil && len(stale) > 0 {
		err = fmt.Errorf("%d are stale: %s", len(stale), head(strings.Join(stale, "\n"), 5))
	}
	return fmt.Sprintf("%d flows to endpoints that are there, %d of datagrams that came while their address was away", flows, own), err
}

func addrPort(ip []byte, port uint16) netip.AddrPort {
	addr, _ := netip.AddrFromSlice(ip)
	return netip.AddrPortFrom(addr.Unmap(), port)
}

func (r *runner) sysctlsAreSet() (string, error) {
	wanted := append(host.WantedSysctls(host.KernelRelease()), host.ForwardIPv4())
	var problems, found []string
	err := r.world.net.Node1.Do(func() error {
		for _, s := range wanted {
			b, err := os.ReadFile(filepath.Join("/proc/sys", strings.ReplaceAll(s.Name, ".", "/")))
			if err != nil {
				return fmt.Errorf("read %s: %w", s.Name, err)
			}
			value := string(bytes.TrimSpace(b))
			found = append(found, s.Name+"="+value)
			if value != s.Value {
				problems = append(problems, fmt.Sprintf("%s is %s", s, value))
			}
		}
		return nil
	})
	if err == nil && len(problems) > 0 {
		err = errors.New(strings.Join(problems, ", "))
	}
	return strings.Join(found, " "), err
}

// What the agent may have with a hundred Services: about twice of what it was seen with.
const (
	mostMemory     = 96 // MB, resident
	mostGoroutines = 150
	mostFiles      = 60
)

func (r *runner) agentIsSmall(ctx context.Context) (string, error) {
	v, err := r.agentValues(ctx)
	if err != nil {
		return "", err
	}
	found := fmt.Sprintf("%.0f MB resident, %.0f MB of heap in use, %.0f goroutines, %.0f files", v[memory], v[heap], v[goroutines], v[files])
	if v[memory] > mostMemory || v[goroutines] > mostGoroutines || v[files] > mostFiles {
		return found, fmt.Errorf("%s: more than %d MB, %d goroutines or %d files", found, mostMemory, mostGoroutines, mostFiles)
	}
	return found, nil
}

// head is the first lines of a text.
func head(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	if len(lines) > n {
		lines = append(lines[:n], fmt.Sprintf("… and %d more", len(lines)-n))
	}
	return strings.Join(lines, "\n")
}
