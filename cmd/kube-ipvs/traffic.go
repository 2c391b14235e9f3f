package main

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/host"
	"github.com/kube-ipvs/kube-ipvs/sync"
)

// The modes of --detect-local-mode, with kube-proxy's names (kubernetes pkg/proxy/apis/config, LocalMode).
const (
	modeNodeCIDR        = "NodeCIDR"
	modeClusterCIDR     = "ClusterCIDR"
	modeBridgeInterface = "BridgeInterface"
	modeInterfacePrefix = "InterfaceNamePrefix"
)

func detectLocalModes() []string {
	return []string{modeNodeCIDR, modeClusterCIDR, modeBridgeInterface, modeInterfacePrefix}
}

// trafficFlags say whose traffic is masqueraded, and which clients are this node's pods.
func (o *options) trafficFlags() group {
	g := newGroup("Traffic")
	g.flags.StringVar(&o.masquerade, "masquerade", "all", "`whose` requests reach the endpoints of Services with externalTrafficPolicy Cluster with an address of this node: all, as with kube-proxy; or remote, which leaves endpoints on this node the client's address")
	g.flags.StringVar(&o.detectLocalMode, "detect-local-mode", "", "`how` this node's pods are told from other clients: NodeCIDR (the Node's spec.podCIDRs), ClusterCIDR (--cluster-cidr), BridgeInterface (--pod-bridge-interface) or InterfaceNamePrefix (--pod-interface-name-prefix); default: ClusterCIDR with --cluster-cidr, else NodeCIDR")
	g.flags.StringSliceVar(&o.clusterCIDRs, "cluster-cidr", nil, "`list` of the networks of all pods of the cluster, for --detect-local-mode=ClusterCIDR")
	g.flags.StringVar(&o.podBridge, "pod-bridge-interface", "", "`name` of the bridge that this node's pods are on, for --detect-local-mode=BridgeInterface")
	g.flags.StringVar(&o.podInterfacePrefix, "pod-interface-name-prefix", "", "`beginning` of the names of the interfaces that this node's pods are behind, for --detect-local-mode=InterfaceNamePrefix")
	return g
}

// localMode is the mode in force.
func (o *options) localMode() string {
	if o.detectLocalMode == "" && len(o.clusterCIDRs) > 0 {
		return modeClusterCIDR
	}
	return cmp.Or(o.detectLocalMode, modeNodeCIDR)
}

// podInterface is the interface that this node's pods are told by, as filter.Options has it; empty if by their addresses.
func (o *options) podInterface() string {
	switch o.localMode() {
	case modeBridgeInterface:
		return o.podBridge
	case modeInterfacePrefix:
		return o.podInterfacePrefix + "*"
	}
	return ""
}

// filterOptions are what our nftables table depends on.
func (o *options) filterOptions() filter.Options {
	return filter.Options{PodInterface: o.podInterface()}
}

// defaults are what the node does where a Service says nothing else.
func (o *options) defaults() sync.Defaults {
	d := sync.Defaults{Scheduler: o.scheduler, Masquerade: filter.MasqueradeAll}
	if o.masquerade == "remote" {
		d.Masquerade = filter.MasqueradeRemote
	}
	d.NodePortRange, d.Bounds = o.nodePorts, o.bounds
	if o.portConflict == conflictSkip {
		d.PortConflict = sync.PortConflictSkip
	}
	return d
}

// podsKnown says of which families the node's pods can be told, given its Node object.
func (o *options) podsKnown(node sync.Node) sync.Families {
	switch o.localMode() {
	case modeBridgeInterface, modeInterfacePrefix:
		return sync.IPv4 | sync.IPv6
	case modeClusterCIDR:
		return sync.FamiliesOf(o.podNetworks)
	}
	return sync.FamiliesOf(node.PodCIDRs)
}

// checkPods reports whether this node's pods can be told from other clients, given its Node object and its interfaces.
func (o *options) checkPods(node sync.Node, links []string) host.Item {
	i := host.Item{Name: "this node's pods", Status: host.OK, Detail: "told by " + o.localMode()}
	is := func(link string) bool { return link == o.podBridge }
	if o.localMode() == modeInterfacePrefix {
		is = func(link string) bool { return strings.HasPrefix(link, o.podInterfacePrefix) }
	}
	switch device := o.podInterface(); {
	case device != "" && !slices.ContainsFunc(links, is):
		i.Status, i.Detail = host.Warn, "this node has no interface "+device+": until it has one, its pods count as clients from outside (externalTrafficPolicy: Local)"
		i.Mend = "if pods run here already, ip link shows what their interfaces are called"
	case device == "" && o.podsKnown(node) == 0:
		i.Status, i.Detail = host.Warn, "its Node object has no spec.podCIDRs: its pods count as clients from outside (externalTrafficPolicy: Local)"
		i.Mend = "choose another --detect-local-mode"
	}
	return i
}

// pods are the networks of this node's pods; nil if its Node object says them, or an interface tells them.
func (o *options) pods() []netip.Prefix {
	if o.localMode() == modeClusterCIDR {
		return o.podNetworks
	}
	return nil
}

// validateTraffic checks the flags of trafficFlags, and fills in podNetworks.
func (o *options) validateTraffic() []error {
	var errs []error
	switch {
	case o.masquerade != "all" && o.masquerade != "remote":
		errs = append(errs, fmt.Errorf("--masquerade: unknown %q: write all or remote", o.masquerade))
	case o.masquerade == "remote" && o.localMode() == modeClusterCIDR:
		errs = append(errs, fmt.Errorf("--masquerade=remote needs to know the pods of this node, and --cluster-cidr names those of all nodes: "+
			"choose --detect-local-mode=%s, %s or %s", modeNodeCIDR, modeBridgeInterface, modeInterfacePrefix))
	}
	if !slices.Contains(detectLocalModes(), o.localMode()) {
		errs = append(errs, fmt.Errorf("--detect-local-mode: unknown mode %q: write %s", o.detectLocalMode, strings.Join(detectLocalModes(), ", ")))
	}
	for _, f := range []struct {
		mode, flag string
		given      bool
	}{
		{modeClusterCIDR, "--cluster-cidr", len(o.clusterCIDRs) > 0},
		{modeBridgeInterface, "--pod-bridge-interface", o.podBridge != ""},
		{modeInterfacePrefix, "--pod-interface-name-prefix", o.podInterfacePrefix != ""},
	} {
		switch {
		case f.mode == o.localMode() && !f.given:
			errs = append(errs, fmt.Errorf("--detect-local-mode=%s needs %s", f.mode, f.flag))
		case f.mode != o.localMode() && f.given && f.mode != modeClusterCIDR: // kube-proxy's other modes ignore --cluster-cidr too
			errs = append(errs, fmt.Errorf("%s is for --detect-local-mode=%s: choose that mode, or leave the flag out", f.flag, f.mode))
		}
	}
	o.podNetworks = nil
	for _, text := range o.clusterCIDRs {
		p, err := netip.ParsePrefix(strings.TrimSpace(text))
		if err != nil || p.Addr().Is4In6() {
			errs = append(errs, fmt.Errorf("--cluster-cidr: %q is not an IPv4 or IPv6 network: write one such as 10.244.0.0/16 or fd44::/16", text))
			continue
		}
		o.podNetworks = append(o.podNetworks, p.Masked())
	}
	for _, f := range []struct{ flag, value, star string }{
		{"--pod-bridge-interface", o.podBridge, ""},
		{"--pod-interface-name-prefix", o.podInterfacePrefix, "*"},
	} {
		name := filter.Options{PodInterface: f.value + f.star}
		if f.value != "" && (strings.Contains(f.value, "*") || name.Validate() != nil) {
			errs = append(errs, fmt.Errorf("%s: %q: up to 15 letters, digits and any of _ . @ -, a prefix up to 14, and no star", f.flag, f.value))
		}
	}
	return errs
}
