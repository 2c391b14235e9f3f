package main

import (
	"fmt"

	"github.com/kube-ipvs/kube-ipvs/sync"
)

// defaultBounds are beyond what a cluster of today has: 2,768 node ports as the API server gives them out, 5,000 nodes with a Pod
// of a DaemonSet each, and as many again while they are replaced.
func defaultBounds() sync.Bounds {
	return sync.Bounds{Services: 10_000, VirtualServers: 65_536, RealServers: 10_000}
}

// boundFlags bound how much the node serves.
func (o *options) boundFlags() group {
	g := newGroup("How much a node serves")
	d := defaultBounds()
	g.flags.IntVar(&o.bounds.Services, "max-services", d.Services, "the largest `number` of Services that are served on this node, the oldest ones, so that nobody uses up the kernel's memory and the time of an audit; 0 is no limit")
	g.flags.IntVar(&o.bounds.VirtualServers, "max-virtual-servers", d.VirtualServers, "the largest `number` of virtual servers, each a port on an address, of all Services on this node; the oldest Services have them, each all of its own or none; 0 is no limit")
	g.flags.IntVar(&o.bounds.RealServers, "max-real-servers", d.RealServers, "the largest `number` of endpoints that a virtual server has, those that leave it not counted; of more, a hash of the address chooses, the same on every node; 0 is no limit")
	return g
}

// validateBounds checks them.
func (o *options) validateBounds() []error {
	var errs []error
	for _, b := range []struct {
		flag  string
		value int
		what  string
	}{
		{"--max-services", o.bounds.Services, "Services"},
		{"--max-virtual-servers", o.bounds.VirtualServers, "virtual servers"},
		{"--max-real-servers", o.bounds.RealServers, "endpoints"},
	} {
		if b.value < 0 {
			errs = append(errs, fmt.Errorf("%s: %d is not a number of %s: 0 is no limit", b.flag, b.value, b.what))
		}
	}
	return errs
}
