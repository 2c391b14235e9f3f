package deploy

// scenesByAlert are promtool's tests of rules: at least one with trouble and one without, for each alert. A series has a sample each
// minute; "0+60x30" begins at 0 and grows by 60, thirty times.
func scenesByAlert() map[string][]scene {
	const up = `up{job="kube-ipvs",node="a",instance="10.1.0.10:10349",pod="kube-ipvs-x"} `
	const upB = `up{job="kube-ipvs",node="b",instance="10.1.0.11:10349",pod="kube-ipvs-y"} `
	return map[string][]scene{
		"KubeIPVSAbsent": {
			{name: "nobody is scraped", minutes: 30, pending: 0, fires: 10, labels: `{}`, says: "kubectl get daemonset"},
			{name: "all are down", series: []string{up + "1x4 0x30"}, minutes: 40, pending: 5, fires: 15, labels: `{}`},
			{name: "one of two is down", series: []string{up + "0x60", upB + "1x60"}, minutes: 60, pending: never, fires: never},
			{name: "kube-proxy is no agent", series: []string{`up{job="kube-proxy",node="a"} 1x30`, up + "1x30"}, minutes: 30, pending: never, fires: never},
		},
		"KubeIPVSDown": {
			{name: "on one node", series: []string{up + "1x9 0x30", upB + "1x40"}, minutes: 40, pending: 10, fires: 20, labels: `{node="a"}`, says: "The agent on a does not answer"},
			{name: "the new Pod of a rollout answers", series: []string{up + "1x5 0x40", `up{job="kube-ipvs",node="a",instance="10.1.0.10:10349",pod="kube-ipvs-z"} _x7 1x40`}, minutes: 45, pending: 6, fires: never},
			{name: "all is well", series: []string{up + "1x60", upB + "1x60"}, minutes: 60, pending: never, fires: never},
		},
		"KubeIPVSNotSyncing": {
			{name: "passes fail from minute 10 on", series: []string{synced + "1767225600+60x10 1767226200x20"}, minutes: 30, pending: 16, fires: 18, labels: `{node="a"}`, says: "kube-ipvs diff"},
			{name: "no pass has ended well since the start", series: []string{synced + "0x20"}, minutes: 20, pending: 0, fires: 2, labels: `{node="a"}`, says: "The agent on a runs"},
			{name: "the Pod before a restart is remembered", series: []string{
				`kube_ipvs_sync_last_success_timestamp_seconds{node="a",pod="kube-ipvs-x"} 1767225600x30`,
				`kube_ipvs_sync_last_success_timestamp_seconds{node="a",pod="kube-ipvs-z"} 1767225600+60x30`,
			}, minutes: 30, pending: never, fires: never},
			{name: "a hiccup of four minutes", series: []string{synced + "1767225600+60x10 1767226200x4 1767226500+60x20"}, minutes: 35, pending: never, fires: never},
			{name: "all is well", series: []string{synced + "1767225600+60x60"}, minutes: 60, pending: never, fires: never},
		},
		"KubeIPVSServesNoAddress": {
			{name: "the last address goes", series: []string{`kube_ipvs_serving_addresses{node="a"} 2x9 0x30`}, minutes: 40, pending: 10, fires: 15, labels: `{node="a"}`, says: "kube-ipvs check"},
			{name: "one address of two goes, and a start takes a minute", series: []string{`kube_ipvs_serving_addresses{node="a"} 0x1 2x9 1x30`}, minutes: 40, pending: 0, fires: never},
			{name: "an agent that has just started is not the whole node", series: []string{`kube_ipvs_serving_addresses{node="a",pod="kube-ipvs-x"} 2x30`, `kube_ipvs_serving_addresses{node="a",pod="kube-ipvs-z"} 0x30`}, minutes: 30, pending: never, fires: never},
		},
		"KubeIPVSKernelRefuses": {
			{name: "at each try, which become rare", series: []string{`kube_ipvs_kernel_operations_total{node="a",verb="add-real",result="refused"} 0x4 1x4 2x4 3x4 4x4 5x4 6x4`}, minutes: 30, pending: 5, fires: 20, labels: `{node="a"}`},
			{name: "operations of IPVS", series: []string{
				`kube_ipvs_kernel_operations_total{node="a",verb="add-real",result="refused"} 0x9 1+2x40`,
				`kube_ipvs_nftables_transactions_total{node="a",result="failed"} 0x50`,
			}, minutes: 40, pending: 10, fires: 25, labels: `{node="a"}`, says: "kube-ipvs status"},
			{name: "transactions of nftables", series: []string{
				`kube_ipvs_kernel_operations_total{node="a",verb="add-real",result="refused"} 0x40`,
				`kube_ipvs_nftables_transactions_total{node="a",result="failed"} 5+1x40`,
			}, minutes: 40, pending: 1, fires: 16, labels: `{node="a"}`},
			{name: "once", series: []string{`kube_ipvs_kernel_operations_total{node="a",verb="add-real",result="refused"} 0x9 1x40`}, minutes: 50, pending: 10, fires: never},
			{name: "what is done is not refused", series: []string{
				`kube_ipvs_kernel_operations_total{node="a",verb="add-real",result="done"} 0+100x40`,
				`kube_ipvs_nftables_transactions_total{node="a",result="done"} 0+10x40`,
			}, minutes: 40, pending: never, fires: never},
		},
		"KubeIPVSDrift": {
			{name: "another proxy, every five minutes", series: []string{`kube_ipvs_drift_repaired_total{node="a"} 0x10 4x5 8x5 12x5 16x5 20x5 24x5 28x5 32x5 36x5 40x5 44x5 48x5 52x5`}, minutes: 80, pending: 11, fires: 71, labels: `{node="a"}`, says: "Somebody else writes to the IPVS or nftables table of the agent on a"},
			{name: "somebody typed a command", series: []string{`kube_ipvs_drift_repaired_total{node="a"} 0x10 3x110`}, minutes: 120, pending: 11, fires: never},
		},
		"KubeIPVSForeignVirtualServers": {
			{name: "left behind", series: []string{`kube_ipvs_foreign_virtual_servers{node="a"} 7x90`}, minutes: 90, pending: 0, fires: 60, labels: `{node="a"}`, says: "7 of them"},
			{name: "a single one", series: []string{`kube_ipvs_foreign_virtual_servers{node="a"} 1x90`}, minutes: 90, pending: 0, fires: 60, labels: `{node="a"}`},
			{name: "adopted, and drained within the hour", series: []string{`kube_ipvs_foreign_virtual_servers{node="a"} 7x50 0x40`}, minutes: 90, pending: 0, fires: never},
		},
		"KubeIPVSPortConflict": {
			{name: "two Services, on each node", series: []string{`kube_ipvs_problems{node="a",reason="conflict"} 0x9 1x30`, `kube_ipvs_problems{node="b",reason="conflict"} 0x9 2x30`}, minutes: 40, pending: 10, fires: 25, labels: `{reason="conflict"}`, says: "(conflict) on 2 nodes"},
			{name: "a program of one node", series: []string{`kube_ipvs_problems{node="a",reason="port-in-use"} 3x30`, `kube_ipvs_problems{node="b",reason="port-in-use"} 0x30`}, minutes: 40, pending: 0, fires: 15, labels: `{reason="port-in-use"}`, says: "kube-ipvs ports"},
			{name: "other problems, and a conflict of minutes", series: []string{`kube_ipvs_problems{node="a",reason="invalid"} 3x60`, `kube_ipvs_problems{node="a",reason="conflict"} 0x9 1x9 0x40`}, minutes: 60, pending: 10, fires: never},
		},
		"KubeIPVSProblems": {
			{name: "an annotation that nobody can read", series: []string{`kube_ipvs_problems{node="a",reason="invalid"} 0x9 1x60`, `kube_ipvs_problems{node="b",reason="invalid"} 0x9 2x60`}, minutes: 60, pending: 10, fires: 40, labels: `{reason="invalid"}`, says: "(invalid) on 2 nodes"},
			{name: "conflicts have an alert of their own", series: []string{`kube_ipvs_problems{node="a",reason="conflict"} 5x60`, `kube_ipvs_problems{node="a",reason="port-in-use"} 5x60`, `kube_ipvs_problems{node="a",reason="invalid"} 0x60`}, minutes: 60, pending: never, fires: never},
		},
		"KubeIPVSNetworkProgrammingSlow": {
			{name: "every change takes half a minute to a whole", series: []string{
				programming + `le="30"} 0x60`, programming + `le="60"} 0+10x60`, programming + `le="+Inf"} 0+10x60`,
			}, minutes: 60, pending: 1, fires: 16, labels: `{node="a"}`, says: "take 59.7s to reach the kernel of a (p99)"},
			{name: "every change, and there are few", series: []string{
				programming + `le="30"} 0x60`, programming + `le="60"} 0x4 10x4 20x4 30x4 40x4 50x4 60x4 70x4`, programming + `le="+Inf"} 0x4 10x4 20x4 30x4 40x4 50x4 60x4 70x4`,
			}, minutes: 40, pending: 5, fires: 20, labels: `{node="a"}`},
			{name: "every change takes 25 seconds", series: []string{
				programming + `le="20"} 0x60`, programming + `le="25"} 0+10x60`, programming + `le="30"} 0+10x60`, programming + `le="+Inf"} 0+10x60`,
			}, minutes: 60, pending: never, fires: never},
			{name: "one change of many", series: []string{
				programming + `le="1"} 0+1000x60`, programming + `le="30"} 0+1000x60`, programming + `le="60"} 0+1001x60`, programming + `le="+Inf"} 0+1001x60`,
			}, minutes: 60, pending: never, fires: never},
			{name: "nothing changes", series: []string{
				programming + `le="30"} 0x60`, programming + `le="60"} 10x60`, programming + `le="+Inf"} 10x60`,
			}, minutes: 60, pending: never, fires: never},
			{name: "kube-proxy is slow", series: []string{
				`kubeproxy_network_programming_duration_seconds_bucket{job="kube-proxy",node="a",le="60"} 0+10x60`,
				`kubeproxy_network_programming_duration_seconds_bucket{job="kube-proxy",node="a",le="+Inf"} 0+20x60`,
			}, minutes: 60, pending: never, fires: never},
		},
		"KubeIPVSDrainingForHours": {
			{name: "two ports of one Service", series: []string{
				`kube_ipvs_service_draining_endpoints{node="a",namespace="default",service="web",port="http",protocol="TCP"} 1x300`,
				`kube_ipvs_service_draining_endpoints{node="a",namespace="default",service="web",port="https",protocol="TCP"} 0x300`,
			}, minutes: 300, pending: 0, fires: 240, labels: `{namespace="default", node="a", service="web"}`, says: "kube-ipvs explain service default/web"},
			{name: "rollouts of an hour", series: []string{
				`kube_ipvs_service_draining_endpoints{node="a",namespace="default",service="web",port="http",protocol="TCP"} 1x60 0x60 2x200 0x100`,
			}, minutes: 400, pending: 0, fires: never},
		},
		"KubeIPVSTrafficLeftOut": {
			{name: "more than the limit", series: []string{`kube_ipvs_traffic_left_out{node="a",kind="services"} 0x60`, `kube_ipvs_traffic_left_out{node="a",kind="endpoints"} 0x9 1200x50`}, minutes: 60, pending: 10, fires: 40, labels: `{kind="endpoints", node="a"}`, says: "1200 endpoints on a have no traffic metrics"},
			{name: "a single Service port", series: []string{`kube_ipvs_traffic_left_out{node="a",kind="services"} 1x60`}, minutes: 60, pending: 0, fires: 30, labels: `{kind="services", node="a"}`},
			{name: "nothing is left out", series: []string{`kube_ipvs_traffic_left_out{node="a",kind="services"} 0x60`}, minutes: 60, pending: never, fires: never},
		},
	}
}

const (
	synced      = `kube_ipvs_sync_last_success_timestamp_seconds{node="a"} `
	programming = `kubeproxy_network_programming_duration_seconds_bucket{job="kube-ipvs",node="a",`
)
