package main

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/host"
	"github.com/kube-ipvs/kube-ipvs/sync"
)

func TestThePodsOfTheNodeAreToldAsTheFlagsSay(t *testing.T) {
	for _, c := range []struct {
		flags  []string
		pods   []string
		device string
	}{
		{nil, nil, ""},
		{[]string{"--detect-local-mode=NodeCIDR", "--cluster-cidr=10.244.0.0/16"}, nil, ""}, // as a kube-proxy has it that ignores it
		{[]string{"--detect-local-mode=NodeCIDR", "--masquerade=remote"}, nil, ""},
		{[]string{"--cluster-cidr=10.244.0.0/16, fd44::1/48"}, []string{"10.244.0.0/16", "fd44::/48"}, ""},
		{[]string{"--detect-local-mode=ClusterCIDR", "--cluster-cidr=10.244.0.0/16"}, []string{"10.244.0.0/16"}, ""},
		{[]string{"--detect-local-mode=BridgeInterface", "--pod-bridge-interface=cni0"}, nil, "cni0"},
		{[]string{"--detect-local-mode=InterfaceNamePrefix", "--pod-interface-name-prefix=cali"}, nil, "cali*"},
	} {
		o, err := configured(t, "", c.flags...)
		if err != nil {
			t.Fatal(err)
		}
		if err := o.validate(); err != nil {
			t.Errorf("%v: %v", c.flags, err)
		}
		var pods []string
		for _, p := range o.pods() {
			pods = append(pods, p.String())
		}
		if !slices.Equal(pods, c.pods) || o.podInterface() != c.device || o.filterOptions() != (filter.Options{PodInterface: c.device}) {
			t.Errorf("%v: networks %v, interface %q, want %v and %q", c.flags, pods, o.podInterface(), c.pods, c.device)
		}
		if (o.pods() == nil) != (c.pods == nil) {
			t.Errorf("%v: the Node object is asked: %v", c.flags, o.pods() == nil)
		}
	}
}

func TestFlagsThatDoNotFitTheModeAreRefused(t *testing.T) {
	for _, c := range []struct{ flags, want string }{
		{"--masquerade=none", "write all or remote"},
		{"--detect-local-mode=Node", "unknown mode"},
		{"--detect-local-mode=ClusterCIDR", "needs --cluster-cidr"},
		{"--detect-local-mode=BridgeInterface", "needs --pod-bridge-interface"},
		{"--detect-local-mode=InterfaceNamePrefix", "needs --pod-interface-name-prefix"},
		{"--pod-bridge-interface=cni0", "--pod-bridge-interface is for --detect-local-mode=BridgeInterface"},
		{"--masquerade=remote --cluster-cidr=10.0.0.0/8", "--cluster-cidr names those of all nodes"},
		{"--detect-local-mode=BridgeInterface --pod-bridge-interface=br*", "no star"},
		{"--detect-local-mode=BridgeInterface --pod-bridge-interface=*", "no star"},
		{"--detect-local-mode=InterfaceNamePrefix --pod-interface-name-prefix=*", "no star"},
		{"--detect-local-mode=InterfaceNamePrefix --pod-interface-name-prefix=fifteen-letters", "a prefix up to 14"},
		{"--cluster-cidr=10.0.0.1", "is not an IPv4 or IPv6 network"},
		{"--cluster-cidr=::ffff:10.0.0.0/104", "is not an IPv4 or IPv6 network"},
		{"--detect-local-mode=BridgeInterface --pod-bridge-interface=seventeen-letters", "up to 15 letters, digits"},
		{`--detect-local-mode=InterfaceNamePrefix --pod-interface-name-prefix=a";`, "up to 15 letters, digits"},
	} {
		o, err := configured(t, "", strings.Fields(c.flags)...)
		if err != nil {
			t.Fatal(err)
		}
		if err := o.validate(); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %v, want %q alone", c.flags, err, c.want)
		}
	}
}

func TestMasqueradeOfTheNode(t *testing.T) {
	for text, want := range map[string]filter.Masquerade{"all": filter.MasqueradeAll, "remote": filter.MasqueradeRemote} {
		if got := (&options{masquerade: text}).defaults().Masquerade; got != want {
			t.Errorf("--masquerade=%s: %s", text, got)
		}
	}
}

func TestCheckSaysWhetherTheNodesPodsCanBeTold(t *testing.T) {
	known := sync.Node{PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.1.0/24")}}
	for _, c := range []struct {
		flags  string
		node   sync.Node
		status host.Status
		detail string
	}{
		{"", known, host.OK, "NodeCIDR"},
		{"", sync.Node{}, host.Warn, "no spec.podCIDRs"},
		{"--cluster-cidr=10.244.0.0/16", sync.Node{}, host.OK, "ClusterCIDR"},
		{"--detect-local-mode=BridgeInterface --pod-bridge-interface=cni0", sync.Node{}, host.OK, "BridgeInterface"},
		{"--detect-local-mode=BridgeInterface --pod-bridge-interface=cni", known, host.Warn, "no interface cni:"},
		{"--detect-local-mode=InterfaceNamePrefix --pod-interface-name-prefix=cni", sync.Node{}, host.OK, "InterfaceNamePrefix"},
		{"--detect-local-mode=InterfaceNamePrefix --pod-interface-name-prefix=cali", sync.Node{}, host.Warn, "no interface cali*:"},
	} {
		o, err := configured(t, "", strings.Fields(c.flags)...)
		if err != nil {
			t.Fatal(err)
		}
		if err := o.validate(); err != nil {
			t.Fatal(err)
		}
		if i := o.checkPods(c.node, []string{"lo", "cni0"}); i.Status != c.status || !strings.Contains(i.Detail, c.detail) {
			t.Errorf("%s: %v %q, want %v with %q", c.flags, i.Status, i.Detail, c.status, c.detail)
		}
	}
}
