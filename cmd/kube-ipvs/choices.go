package main

import (
	"fmt"
	"hash/fnv"

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
	g.flags.StringVar(&o.sourceRanges, "nodeport-source-ranges", rangesFromAnnotation, "where the clients that may reach node ports are read: `annotation` (kube-ipvs.io/source-ranges), or spec for the annotation and, where it is absent, spec.loadBalancerSourceRanges")
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

// seed makes nodes differ where they should not all do the same.
func seed(node string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(node))
	return h.Sum64()
}
