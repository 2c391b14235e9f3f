package nodes

import (
	"context"
	"fmt"
	"os"
	"os/exec"
)

// trackMany makes room in the kernel's tables of connections, of which each node has one. A guest with less than 1 GiB has
// room for 8,192 (Linux 6.1), which is a minute of the suite's load: after that flows of UDP are forgotten, and their
// datagrams lost.
func trackMany(ctx context.Context) error {
	if out, err := exec.CommandContext(ctx, "modprobe", "nf_conntrack").CombinedOutput(); err != nil {
		return fmt.Errorf("load nf_conntrack: %w: %s", err, out)
	}
	if err := os.WriteFile("/proc/sys/net/netfilter/nf_conntrack_max", []byte("262144"), 0o600); err != nil {
		return fmt.Errorf("make room for connections: %w", err)
	}
	return nil
}
