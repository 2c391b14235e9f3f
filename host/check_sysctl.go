package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// FS has the sysctls as files, as the checks read them.
func (s Sysctls) FS() fs.FS { return os.DirFS(orDefault(s.Root, defaultRoot)) }

// Writable reports why a sysctl cannot be set, without setting it.
func (s Sysctls) Writable(name string) error {
	if err := unix.Access(s.path(name), unix.W_OK); err != nil {
		return fmt.Errorf("sysctl %s: %w", name, err)
	}
	return nil
}

// CheckSysctls reports on each setting: whether it is as wanted, or else whether the agent can set it. Sysctls has them
// as files.
func CheckSysctls(sysctls fs.FS, wanted []Sysctl, writable func(name string) error) []Item {
	items := make([]Item, 0, len(wanted))
	for _, w := range wanted {
		items = append(items, checkSysctl(sysctls, w, writable))
	}
	return items
}

func checkSysctl(sysctls fs.FS, w Sysctl, writable func(name string) error) Item {
	i := Item{Name: w.Name, Status: OK}
	found, err := fs.ReadFile(sysctls, sysctlFile(w.Name))
	switch value := normalise(string(found)); {
	case errors.Is(err, fs.ErrNotExist) && strings.HasPrefix(w.Name, "net.ipv4.vs."):
		i.Status, i.Detail = Fail, "the kernel has no such setting: IPVS is not loaded, or was built without it"
		i.Mend = "on the node: modprobe ip_vs (net.ipv4.vs.conntrack needs CONFIG_IP_VS_NFCT too)"
	case err != nil:
		i.Status, i.Detail = Fail, err.Error()
	case value == normalise(w.Value):
		i.Detail = value
	default:
		i.Detail = fmt.Sprintf("%s; the agent sets it to %s when it starts", value, w.Value)
		if err := writable(w.Name); err != nil {
			i.Status = Fail
			i.Detail = fmt.Sprintf("%s, but must be %s, and the agent cannot set it: %v", value, w.Value, err)
			i.Mend = fmt.Sprintf("on the node: sysctl -w %s; or run kube-ipvs run --init-only before, where /proc/sys can be written", w)
		}
	}
	return i
}

// CheckForwarding reports on forwarding of the families that are served: without it no packet reaches a pod. IPv4 is
// turned on by the agent; IPv6 is not, see WantedSysctls.
func CheckForwarding(sysctls fs.FS, ipv4, ipv6 bool, writable func(name string) error) []Item {
	var items []Item
	if ipv4 {
		items = append(items, checkSysctl(sysctls, ForwardIPv4(), writable))
	}
	if !ipv6 {
		return items
	}
	const name = "net.ipv6.conf.all.forwarding"
	i := Item{Name: name, Status: OK, Detail: "1"}
	found, err := fs.ReadFile(sysctls, sysctlFile(name))
	switch value := normalise(string(found)); {
	case errors.Is(err, fs.ErrNotExist):
		i.Status, i.Detail = Warn, "this kernel has no IPv6, but IPv6 addresses are to be served"
		i.Mend = "start it without ipv6.disable=1, or choose only IPv4 with --nodeport-addresses"
	case err != nil:
		i.Status, i.Detail = Warn, err.Error()
	case value == "0":
		i.Status, i.Detail = Warn, "0: no pod on another node can be reached over IPv6"
		i.Mend = "on the node: sysctl -w " + name + "=1; if its default route comes from router advertisements, first" +
			" sysctl -w net.ipv6.conf.INTERFACE.accept_ra=2, or the route is lost"
	}
	return append(items, i)
}

// CheckCounting reports on the kernel's counting of traffic, if that is switched off: then counters stand still, and nothing
// else is the worse for it. A kernel without the setting counts.
func CheckCounting(sysctls fs.FS) []Item {
	const name = "net.ipv4.vs.run_estimation"
	found, err := fs.ReadFile(sysctls, sysctlFile(name))
	if err != nil || normalise(string(found)) != "0" {
		return nil
	}
	return []Item{{
		Name: name, Status: Warn, Detail: "0: the kernel does not count traffic, so metrics of it and kube-ipvs top stand still",
		Mend: "on the node: sysctl -w " + name + "=1",
	}}
}
