package host

import (
	"context"
	"io/fs"
	"net/netip"
	"strings"
	"testing"
	"testing/fstest"
)

// What nft 1.0.6 says of rules that kube-proxy 1.37 writes.
const (
	someNFTables  = `{"nftables": [{"metainfo": {}}, {"set": {"family": "ip", "name": "cluster-ips", "table": "kube-proxy", "elem": ["10.96.0.1"]}}, {"set": {"family": "ip", "name": "nodeport-ips", "table": "kube-proxy", "type": "ipv4_addr", "elem": ["10.1.0.10", "10.2.0.10"]}}]}`
	otherNFTables = `{"nftables": [{"set": {"family": "ip", "name": "nodeport-ips", "table": "kube-proxy", "elem": ["10.2.0.10"]}}]}`
	noneNFTables  = `{"nftables": [{"set": {"family": "ip6", "name": "nodeport-ips", "table": "kube-proxy", "type": "ipv6_addr"}}]}`
	allNFTables   = `{"nftables": [{"set": {"family": "ip6", "name": "cluster-ips", "table": "kube-proxy"}}]}`
	iptablesHead  = `{"nftables": [{"chain": {"family": "ip", "table": "nat", "name": "KUBE-SERVICES"}}, {"rule": {"family": "ip", "table": "nat", "chain": "KUBE-SERVICES", "expr": [{"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "daddr"}}, "right": "10.96.0.1"}}, {"jump": {"target": "KUBE-SVC-A"}}]}}`
	iptablesJump  = `, {"rule": {"family": "ip", "table": "nat", "chain": "KUBE-SERVICES", "expr": [{"xt": {"type": "match", "name": "comment"}}, {"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "daddr"}}, "right": "ADDRESS"}}, {"counter": {"packets": 0, "bytes": 0}}, {"jump": {"target": "KUBE-NODEPORTS"}}]}}`
	iptablesAll   = `, {"rule": {"family": "ip", "table": "nat", "chain": "KUBE-SERVICES", "expr": [{"match": {"op": "!=", "left": {"payload": {"protocol": "ip", "field": "daddr"}}, "right": {"prefix": {"addr": "127.0.0.0", "len": 8}}}}, {"match": {"op": "==", "left": {"fib": {"result": "type", "flags": ["daddr"]}}, "right": "local"}}, {"jump": {"target": "KUBE-NODEPORTS"}}]}}`
)

// ruled is nft of a node with such tables, by what is asked about.
func ruled(tables map[string]string) Runner {
	return func(ctx context.Context, name string, args ...string) (string, error) {
		if out, there := tables[strings.Join(args[2:], " ")]; there {
			return out, nil
		}
		return noRules(ctx, name, args...)
	}
}

// podProc is /proc of a Pod without hostPID.
func podProc() fstest.MapFS {
	proc := fakeProc("kube-ipvs run")
	proc["self/ns/pid"] = &fstest.MapFile{Data: []byte("pid:[4026532999]"), Mode: fs.ModeSymlink}
	return proc
}

func TestAPodSeesKubeProxyByItsRulesAndSaysWhatItDoesNotSee(t *testing.T) {
	const nft4, nft6, nat = "sets table ip kube-proxy", "sets table ip6 kube-proxy", "chain ip nat KUBE-SERVICES"
	unseen := expect{OK, "cannot be seen from here", ""}
	jump := func(address string) string { return strings.ReplaceAll(iptablesJump, "ADDRESS", address) }
	for _, tc := range []struct {
		name   string
		proc   fstest.MapFS
		tables map[string]string
		links  []string
		want   []expect
	}{
		{"nothing", podProc(), nil, nil, []expect{unseen}},
		{
			"node ports of chosen addresses in nftables", podProc(),
			map[string]string{nft4: someNFTables, nft6: noneNFTables},
			nil,
			[]expect{{Warn, "mode nftables: they answer on node ports of 10.1.0.10 as", "--nodeport-addresses=127.0.0.0/8"}, unseen},
		},
		{
			"node ports of all addresses of a family in nftables", podProc(),
			map[string]string{nft4: otherNFTables, nft6: allNFTables},
			nil,
			[]expect{{Warn, "of fd01::10 as", "nodePortAddresses"}, unseen},
		},
		{
			"node ports of others in nftables", podProc(),
			map[string]string{nft4: otherNFTables, nft6: noneNFTables},
			nil,
			[]expect{{OK, "leave the node ports of our addresses alone", ""}, unseen},
		},
		{"node ports of all in iptables", podProc(), map[string]string{nat: iptablesHead + iptablesAll + "]}"}, nil, []expect{{Warn, "mode iptables: they answer on node ports of 10.1.0.10 as", "nodePortAddresses"}, unseen}},
		{"node ports of one in iptables", podProc(), map[string]string{nat: iptablesHead + jump("10.1.0.10") + "]}"}, nil, []expect{{Warn, "10.1.0.10", "nodePortAddresses"}, unseen}},
		{"node ports of loopback in iptables", podProc(), map[string]string{nat: iptablesHead + jump("127.0.0.1") + "]}"}, nil, []expect{{OK, "mode iptables", ""}, unseen}},
		{"IPVS mode", podProc(), nil, []string{"kube-ipvs0"}, []expect{{Warn, "whether it spares our addresses cannot be seen", "on the node itself"}, unseen}},
		{"rules that were left behind, seen from the node", fakeProc(), map[string]string{nft4: someNFTables}, nil, []expect{{Warn, "10.1.0.10", "kube-proxy --cleanup"}}},
		{"a process that is seen speaks for itself", fakeProc("kube-proxy --nodeport-addresses=localhost"), map[string]string{nft4: someNFTables}, nil, []expect{{OK, "localhost", ""}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			serving := []netip.Addr{netip.MustParseAddr("10.1.0.10"), netip.MustParseAddr("fd01::10")}
			wantItems(t, CheckProxies(t.Context(), ruled(tc.tables), tc.proc, tc.links, serving), tc.want...)
		})
	}
}
