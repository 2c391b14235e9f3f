package main

import (
	"fmt"
	"hash/fnv"
	"net"
	"strconv"

	"github.com/kube-ipvs/kube-ipvs/allocator"
	"github.com/kube-ipvs/kube-ipvs/nodeaddr"
)

// Where the source ranges of a Service come from.
const (
	rangesFromAnnotation = "annotation"
	rangesFromSpec       = "spec"
)

// choiceFlags bound what authors of Services may choose.
func (o *options) choiceFlags() group {
	g := newGroup("What Services may choose")
	g.flags.StringArrayVar(&o.networks, "network", nil, "a `name=list` that Services may choose their addresses by (annotation kube-ipvs.io/networks), for example internal=10.0.0.0/8,iface:eth1; entries as in --nodeport-addresses, one flag for each name")
	g.flags.StringVar(&o.sourceRanges, "nodeport-source-ranges", rangesFromAnnotation, "the `source` of the clients that may reach node ports: annotation (kube-ipvs.io/source-ranges), or spec for the annotation and, where it is absent, spec.loadBalancerSourceRanges")
	g.flags.StringSliceVar(&o.allowedSchedulers, "allowed-schedulers", kernelSchedulers, "the schedulers that a Service may choose with the annotation kube-ipvs.io/scheduler, a `list` of names")
	return g
}

// validateChoices checks them, and fills in named.
func (o *options) validateChoices() []error {
	var errs []error
	named, err := nodeaddr.ParseNetworks(o.networks)
	if err != nil {
		errs = append(errs, fmt.Errorf("--network: %w", err))
	}
	o.named = named
	if o.sourceRanges != rangesFromAnnotation && o.sourceRanges != rangesFromSpec {
		errs = append(errs, fmt.Errorf("--nodeport-source-ranges: %q: write %s or %s", o.sourceRanges, rangesFromAnnotation, rangesFromSpec))
	}
	return errs
}

// What becomes of a node port on which a program of the node listens.
const (
	conflictWarn = "warn"
	conflictSkip = "skip"
)

// portFlags are about ports of the node.
func (o *options) portFlags() group {
	g := newGroup("Ports")
	g.flags.StringVar(&o.nodePortRange, "service-node-port-range", "30000-32767", "the API server's `range` of node ports, as in its flag; node ports outside of it are served, and reported")
	g.flags.StringSliceVar(&o.extraPorts, "extra-port-range", nil, "the ports that Services may open beside their node ports (annotation kube-ipvs.io/extra-ports), a `list` such as 80,443,8000-8099; those of SSH, the kubelet, the control plane and the agent never (default: none)")
	g.flags.StringVar(&o.portConflict, "port-conflict", conflictWarn, "`policy` for a node port on which a program of the node listens: warn serves it, as Kubernetes does, skip leaves it to the program; either is reported")
	return g
}

// protectedPorts are never extra ports, whether somebody listens there at the moment or not: SSH, the kubelet, kube-proxy's
// health check, the control plane.
func protectedPorts() []uint16 {
	return []uint16{22, 2379, 2380, 6443, 10248, 10249, 10250, 10255, 10256, 10257, 10259}
}

// validatePorts checks them, and fills in nodePorts, extra and protected.
func (o *options) validatePorts() []error {
	var errs []error
	var err error
	if o.nodePorts, err = allocator.ParseRange(o.nodePortRange); err != nil {
		errs = append(errs, fmt.Errorf("--service-node-port-range: %w", err))
	}
	o.extra = &allocator.Ports{}
	for _, text := range o.extraPorts {
		r, err := allocator.ParseRange(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("--extra-port-range: %w", err))
			continue
		}
		o.extra.AddRange(r)
	}
	o.protected = &allocator.Ports{}
	o.protected.Add(append(protectedPorts(), o.ownPorts()...)...)
	if o.portConflict != conflictWarn && o.portConflict != conflictSkip {
		errs = append(errs, fmt.Errorf("--port-conflict: %q: write %s or %s", o.portConflict, conflictWarn, conflictSkip))
	}
	return errs
}

// ownPorts are those that the agent itself listens on.
func (o *options) ownPorts() []uint16 {
	var ports []uint16
	for _, address := range []string{o.healthz, o.metrics} {
		_, text, err := net.SplitHostPort(address)
		port, errPort := strconv.ParseUint(text, 10, 16)
		if err == nil && errPort == nil {
			ports = append(ports, uint16(port))
		}
	}
	return ports
}

// seed makes nodes differ where they should not all do the same.
func seed(node string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(node))
	return h.Sum64()
}
