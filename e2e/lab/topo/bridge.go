package topo

import (
	"context"
	"errors"
	"fmt"
)

// BridgeNetfilter says whether what goes from port to port of the nodes' bridges passes the hooks of IPv4 and IPv6 as what
// is routed does: net.bridge.bridge-nf-call-iptables and -ip6tables, which kubeadm asks to be 1. It loads br_netfilter, which
// no kernel loads by itself. A new topology has it off.
func (t *Topology) BridgeNetfilter(ctx context.Context, on bool) error {
	if out, err := t.Node1.Command(ctx, "modprobe", "br_netfilter").CombinedOutput(); err != nil {
		return fmt.Errorf("load br_netfilter: %w: %s", err, out)
	}
	value := map[bool]string{true: "1", false: "0"}[on]
	// The bridges of the networks A and B are switches: the module begins with 1 for them too.
	return errors.Join(t.fabric.bridgeNetfilter("0"), t.Node1.bridgeNetfilter(value), t.Node2.bridgeNetfilter(value))
}

func (h *Host) bridgeNetfilter(value string) error {
	return errors.Join(
		h.Sysctl("net/bridge/bridge-nf-call-iptables", value),
		h.Sysctl("net/bridge/bridge-nf-call-ip6tables", value),
	)
}

// hairpin lets a bridge send a frame back to the port that it came from, as network plugins ask it to (hairpinMode). With
// bridge-nf-call-iptables a pod needs it to reach itself through a node port: once the masquerade of its answer is undone, the
// bridge sees a frame from the pod to the pod, and drops it otherwise (measured on Linux 6.1; without the setting the frame
// goes up to the node and is routed).
func (h *Host) hairpin(port string) error {
	link, err := h.links.LinkByName(port)
	if err == nil {
		err = h.links.LinkSetHairpin(link, true)
	}
	if err != nil {
		return fmt.Errorf("set hairpin mode of %s on %s: %w", port, h.Name, err)
	}
	return nil
}
