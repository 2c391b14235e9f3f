package host

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// CheckCapabilities judges the effective capabilities of a process by its /proc/PID/status. LoadModules says that the
// agent would have to load kernel modules itself, because some are missing.
func CheckCapabilities(status io.Reader, loadModules bool) Item {
	i := Item{Name: "capabilities", Status: OK}
	caps, err := effectiveCapabilities(status)
	if err != nil {
		i.Status, i.Detail = Warn, err.Error()
		return i
	}
	has := func(capability int) bool { return caps&(1<<capability) != 0 }
	switch {
	case !has(unix.CAP_NET_ADMIN):
		i.Status, i.Detail = Fail, "NET_ADMIN is missing: neither IPVS nor nftables can be written"
		i.Mend = "run as root; in a Pod: securityContext.capabilities.add: [NET_ADMIN], and hostNetwork: true"
	case loadModules && !has(unix.CAP_SYS_MODULE):
		i.Status, i.Detail = Warn, "NET_ADMIN is there; SYS_MODULE is not, so missing kernel modules cannot be loaded from here"
		i.Mend = "load them on the node: modprobe ip_vs"
	default:
		i.Detail = "NET_ADMIN is there"
	}
	return i
}

func effectiveCapabilities(status io.Reader) (uint64, error) {
	lines := bufio.NewScanner(status)
	for lines.Scan() {
		if value, found := strings.CutPrefix(lines.Text(), "CapEff:"); found {
			caps, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64)
			if err != nil {
				return 0, fmt.Errorf("effective capabilities: %w", err)
			}
			return caps, nil
		}
	}
	if err := lines.Err(); err != nil {
		return 0, fmt.Errorf("effective capabilities: %w", err)
	}
	return 0, fmt.Errorf("effective capabilities: no CapEff line")
}
