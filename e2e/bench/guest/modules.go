package main

import (
	"context"
	"fmt"
	"os/exec"
)

// modules that any subject makes the kernel load. They are there before the first starts, or its cold start would be that of the
// kernel, too.
var modules = []string{
	"ip_vs", "ip_vs_rr", "nf_conntrack", "nf_nat", "veth", "bridge", "dummy",
	"nf_tables", "nft_chain_nat", "nft_ct", "nft_masq", "nft_nat", "nft_numgen", "nft_fib", "nft_fib_ipv4", "nft_fib_ipv6", "nft_fib_inet",
	"nft_reject", "nft_reject_inet", "nft_limit", "nft_compat",
	"ip_set", "ip_set_hash_ip", "ip_set_hash_net", "ip_set_hash_ipport", "ip_set_hash_ipportip", "ip_set_hash_ipportnet", "ip_set_bitmap_port",
	"xt_set", "xt_mark", "xt_comment", "xt_MASQUERADE", "xt_conntrack", "xt_addrtype",
}

// loadModules loads them.
func loadModules(ctx context.Context) error {
	if out, err := exec.CommandContext(ctx, "modprobe", modules...).CombinedOutput(); err != nil {
		return fmt.Errorf("load modules: %w: %s", err, out)
	}
	return nil
}
