package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"syscall"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// perAddress is the number of requests to each address of each Service: even, so that two pods can share it evenly.
const perAddress = 20

// showRequests counts who answers the client.
func (c *cast) showRequests(ctx context.Context) error {
	rows := [][]string{{"FROM THE CLIENT TO", "", "SERVICE", "REQUESTS", "ANSWERED BY"}}
	even, loyal := 0, 0
	seen := map[string]topo.Tally{}
	for _, s := range []*service{&c.web, &c.dns} {
		for _, addr := range c.addresses() {
			tally := c.ask(ctx, s, addr)
			to := s.key(addr).String()
			seen[to] = tally
			if len(tally.Pods) == 2 && tally.Pods[s.pods[0].Name] == perAddress/2 && tally.Pods[s.pods[1].Name] == perAddress/2 {
				even++
			}
			if len(tally.Pods) == 1 && tally.Answers() == perAddress {
				loyal++
			}
			rows = append(rows, []string{
				netip.AddrPortFrom(addr, s.port()).String(), "network " + c.network(addr) + ", " + asked(s),
				s.Name + " (" + s.scheduler() + ")", fmt.Sprint(perAddress), counts(tally),
			})
		}
	}
	c.table(rows)
	c.promise(even == 4, "web (rr): on each of the 4 addresses 20 of 20 requests were answered, 10 by each pod", seen)
	c.promise(loyal == 4, "dns (sh): on each of the 4 addresses 20 of 20 datagrams were answered, all by one pod", seen)
	c.promiseRefused(ctx, "not chosen")
	return nil
}

// ask sends the requests to one address. A datagram may be lost on any network: it is sent once more, and said so.
func (c *cast) ask(ctx context.Context, s *service, addr netip.Addr) topo.Tally {
	to := netip.AddrPortFrom(addr, s.port())
	if s.protocol == frontend.TCP {
		return topo.Count(ctx, c.net.Client, topo.HTTP, to, perAddress)
	}
	tally := topo.Count(ctx, c.net.Client, topo.UDP, to, perAddress)
	lost := len(tally.Failures)
	if lost == 0 {
		return tally
	}
	c.say("note: %d of %d datagrams to %s had no answer and are sent once more (%v)", lost, perAddress, to, tally.Failures[0].Err)
	again := topo.Count(ctx, c.net.Client, topo.UDP, to, lost)
	for pod, n := range tally.Pods {
		if again.Pods == nil {
			again.Pods = map[string]int{}
		}
		again.Pods[pod] += n
	}
	return again
}

// promiseRefused asks on the addresses that were not chosen: nobody may answer, and the client must be told at once.
func (c *cast) promiseRefused(ctx context.Context, why string) {
	for _, addr := range []netip.Addr{c.admin4, c.admin6} {
		to := netip.AddrPortFrom(addr, webPort)
		answer, err := topo.Ask(ctx, c.net.Client, topo.HTTP, to)
		what := fmt.Sprintf("%s (%s): no pod is reached, connection refused", to, why)
		if err == nil {
			c.broken(what, "an answer of "+answer.Pod)
			continue
		}
		c.promise(errors.Is(err, syscall.ECONNREFUSED), what, err)
	}
}

// network is the name of the network that an address of node1 is on.
func (c *cast) network(addr netip.Addr) string {
	if addr == c.net.Node1.A4 || addr == c.net.Node1.A6 {
		return "A"
	}
	return "B"
}

func asked(s *service) string {
	if s.protocol == frontend.UDP {
		return "UDP"
	}
	return "HTTP"
}

// counts is "web-1: 10, web-2: 10".
func counts(t topo.Tally) string {
	var texts []string
	for _, pod := range slices.Sorted(maps.Keys(t.Pods)) {
		texts = append(texts, fmt.Sprintf("%s: %d", pod, t.Pods[pod]))
	}
	if n := len(t.Failures); n > 0 {
		texts = append(texts, fmt.Sprintf("nobody: %d", n))
	}
	return strings.Join(texts, ", ")
}
