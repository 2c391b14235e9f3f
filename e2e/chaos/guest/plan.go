package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

// planned is what `kube-ipvs plan` says of the objects that the API server has.
type planned struct {
	table ipvs.Table
	rules filter.Rules
}

// udp is the virtual server of UDP at an address and port.
func (p planned) udp(at netip.AddrPort) (ipvs.Entry, bool) {
	entry, there := p.table[frontend.NewKey(at.Addr(), frontend.UDP, at.Port())]
	return entry, there
}

func (r *runner) plan(ctx context.Context) (p planned, err error) {
	dir, err := os.MkdirTemp("", "chaos-plan-")
	if err != nil {
		return p, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := r.world.dump(ctx, dir); err != nil {
		return p, err
	}
	saved, err := r.planAs(ctx, dir, "ipvsadm")
	if err == nil {
		p.table, err = ipvs.ParseSave(strings.NewReader(saved))
	}
	if err != nil {
		return p, err
	}
	said, err := r.planAs(ctx, dir, "json")
	if err != nil {
		return p, err
	}
	p.rules, err = rulesOf(said, p.table, r.world.net.Node1.PodCIDRs)
	return p, err
}

// dump writes all objects to files.
func (w *world) dump(ctx context.Context, dir string) error {
	services, err := w.client.CoreV1().Services("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("list Services: %w", err)
	}
	slices, err := w.client.DiscoveryV1().EndpointSlices("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("list EndpointSlices: %w", err)
	}
	nodes, err := w.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("list Nodes: %w", err)
	}
	var all []runtime.Object
	for i := range services.Items {
		all = append(all, &services.Items[i])
	}
	for i := range slices.Items {
		all = append(all, &slices.Items[i])
	}
	for i := range nodes.Items {
		all = append(all, &nodes.Items[i])
	}
	for i, object := range all {
		kinds, _, err := scheme.Scheme.ObjectKinds(object)
		if err != nil {
			return fmt.Errorf("write object: %w", err)
		}
		object.GetObjectKind().SetGroupVersionKind(kinds[0])
		b, err := yaml.Marshal(object)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, fmt.Sprintf("%05d.yaml", i)), b, 0o600)
		}
		if err != nil {
			return fmt.Errorf("write object: %w", err)
		}
	}
	return nil
}

func (r *runner) planAs(ctx context.Context, dir, format string) (string, error) {
	n := r.world.net.Node1
	addresses := []string{
		fmt.Sprintf("%s=%s/24", topo.DevA, n.A4), fmt.Sprintf("%s=%s/64", topo.DevA, n.A6),
		fmt.Sprintf("%s=%s/24", topo.DevB, n.B4), fmt.Sprintf("%s=%s/64", topo.DevB, n.B6),
	}
	for _, f := range r.world.flaps {
		addresses = append(addresses, fmt.Sprintf("%s=%s", f.dev, f.prefix))
	}
	var stderr strings.Builder
	cmd := n.Command(ctx, "kube-ipvs", "plan", "--manifests", dir, "--node-name", n.Name,
		"--node-addresses", strings.Join(addresses, ","), addressFlag, "-o", format)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("kube-ipvs plan: %w: %s", err, stderr.String())
	}
	return string(out), nil
}

// rulesOf reads what is served and masqueraded from the JSON of a plan.
func rulesOf(said string, table ipvs.Table, pods []netip.Prefix) (filter.Rules, error) {
	var plan struct {
		ServicePorts []struct {
			NodePort  uint16
			Protocol  string
			Frontends []struct {
				Address          string
				Served, Internal bool
				Masquerade       string
			}
		}
	}
	rules := filter.Rules{
		Owned: filter.NewSet(table.Keys()...), Masquerade: map[frontend.Key]filter.Masquerade{}, Internal: filter.Set{},
		Pods: filter.NormalPrefixes(pods),
	}
	if err := json.Unmarshal([]byte(said), &plan); err != nil {
		return rules, fmt.Errorf("read the plan: %w", err)
	}
	for _, p := range plan.ServicePorts {
		protocol, err := frontend.ParseProtocol(p.Protocol)
		if err != nil {
			return rules, fmt.Errorf("read the plan: %w", err)
		}
		for _, f := range p.Frontends {
			addr, err := netip.ParseAddr(f.Address)
			if err != nil {
				return rules, fmt.Errorf("read the plan: %w", err)
			}
			if !f.Served {
				continue
			}
			key := frontend.NewKey(addr, protocol, p.NodePort)
			for _, m := range []filter.Masquerade{filter.MasqueradePods, filter.MasqueradeRemote, filter.MasqueradeAll} {
				if m.String() == f.Masquerade {
					rules.Masquerade[key] = m
				}
			}
			if f.Internal {
				rules.Internal[key] = struct{}{}
			}
		}
	}
	return rules, nil
}
