package cluster

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab"
)

// Options say what a control plane is like. The zero value with Binaries is dual-stack, with RBAC.
type Options struct {
	Binaries Binaries // of Builder.Build
	// NodePorts is the range of node ports; "" is the API server's own, 30000-32767.
	NodePorts string
	// ServiceCIDRs are for cluster IPs, one for each family; nil is 10.96.0.0/16 and fd00:10:96::/112.
	ServiceCIDRs []netip.Prefix
	// Controllers of kube-controller-manager; nil is the one that makes EndpointSlices, empty none at all.
	Controllers []string
	// Flags that come last, where they win.
	EtcdFlags, APIServerFlags, ControllerManagerFlags []string
}

func (o *Options) setDefaults() error {
	if o.Binaries.Dir == "" {
		return errors.New("options lack Binaries: they come from Builder.Build")
	}
	if o.ServiceCIDRs == nil {
		o.ServiceCIDRs = []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16"), netip.MustParsePrefix("fd00:10:96::/112")}
	}
	if o.Controllers == nil {
		o.Controllers = []string{"endpointslice-controller"}
	}
	return nil
}

// etcdArgs returns etcd's flags. Nothing has to survive a power cut.
func (o *Options) etcdArgs(f files, client, peer *port) []string {
	clients, peers := "http://"+client.addr().String(), "http://"+peer.addr().String()
	return append([]string{
		"--data-dir", f.etcdData, "--unsafe-no-fsync", "--log-level", "warn", "--quota-backend-bytes", "8589934592",
		"--listen-client-urls", clients, "--advertise-client-urls", clients,
		"--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers, "--initial-cluster", "default=" + peers,
	}, o.EtcdFlags...)
}

// apiServerArgs returns kube-apiserver's flags. Everything stays on loopback, the Service kubernetes included, which
// has no endpoints. Pods need no ServiceAccount, for no controller makes those, and nobody runs them.
func (o *Options) apiServerArgs(f files, at, etcd *port) []string {
	args := []string{
		"--etcd-servers", "http://" + etcd.addr().String(),
		"--bind-address", at.addr().Addr().String(), "--secure-port", fmt.Sprint(at.number),
		"--advertise-address", at.addr().Addr().String(), "--endpoint-reconciler-type", "none",
		"--tls-cert-file", f.serverCert, "--tls-private-key-file", f.serverKey, "--client-ca-file", f.authority,
		"--service-account-issuer", "https://kubernetes.default.svc",
		"--service-account-key-file", f.accountsPublic, "--service-account-signing-key-file", f.accountsKey,
		"--service-cluster-ip-range", joinPrefixes(o.ServiceCIDRs),
		"--authorization-mode", "RBAC", "--disable-admission-plugins", "ServiceAccount", "--allow-privileged",
		"--audit-log-path", f.audit, "--audit-policy-file", f.auditPolicy,
		"--audit-log-maxsize", "4096", // MB: Denials reads one file
	}
	if o.NodePorts != "" {
		args = append(args, "--service-node-port-range", o.NodePorts)
	}
	return append(args, o.APIServerFlags...)
}

// controllerManagerArgs returns kube-controller-manager's flags.
func (o *Options) controllerManagerArgs(f files) []string {
	return append([]string{
		"--kubeconfig", f.kubeconfig, "--leader-elect=false", "--secure-port", "0",
		"--controllers", strings.Join(o.Controllers, ","),
		"--service-account-private-key-file", f.accountsKey, "--root-ca-file", f.authority,
		"--kube-api-qps", "2000", "--kube-api-burst", "4000", "--concurrent-service-endpoint-syncs", "20",
	}, o.ControllerManagerFlags...)
}

// serverAddresses are those under which clients on the host, in a guest and in pods know the API server.
func (o *Options) serverAddresses() []netip.Addr {
	addresses := []netip.Addr{
		netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback(), netip.MustParseAddr(lab.HostAddress),
	}
	for _, p := range o.ServiceCIDRs {
		addresses = append(addresses, p.Masked().Addr().Next()) // the Service kubernetes
	}
	return addresses
}

func joinPrefixes(prefixes []netip.Prefix) string {
	var s []string
	for _, p := range prefixes {
		s = append(s, p.String())
	}
	return strings.Join(s, ",")
}
