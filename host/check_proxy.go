package host

import (
	"context"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// CheckProxies reports on other programs that serve node ports or write the IPVS table: kube-proxy, kube-router and
// keepalived, by their processes, and where those are not seen by the interfaces and rules that they make. Proc is /proc,
// links are the names of the node's interfaces, serving the addresses that this agent is going to serve.
func CheckProxies(ctx context.Context, run Runner, proc fs.FS, links []string, serving []netip.Addr) []Item {
	processes, err := Processes(proc, "kube-proxy", "kube-router", "keepalived")
	if err != nil {
		return []Item{{Name: "other proxies", Status: Warn, Detail: err.Error()}}
	}
	var items []Item
	running := map[string]bool{}
	for _, p := range processes {
		running[p.Name] = true
		switch p.Name {
		case "kube-proxy":
			items = append(items, checkKubeProxy(p, readKubeProxy(p, proc), serving))
		case "kube-router":
			items = append(items, checkKubeRouter(p))
		case "keepalived":
			items = append(items, Item{
				Name: title(p), Status: OK,
				Detail: "each leaves the other's virtual servers alone, as long as keepalived.conf has no lvs_flush",
			})
		}
	}
	if !running["kube-proxy"] {
		items = append(items, checkProxyRules(ctx, run, serving)...)
	}
	all := seesAllProcesses(proc)
	for _, l := range []struct{ link, program, mend string }{
		{"kube-ipvs0", "kube-proxy", "kube-proxy --cleanup"},
		{"kube-dummy-if", "kube-router", "kube-router --cleanup-config"},
	} {
		if slices.Contains(links, l.link) && !running[l.program] {
			items = append(items, checkLink(l.link, l.program, l.mend, all))
		}
	}
	switch {
	case !all:
		items = append(items, Item{
			Name: "other proxies", Status: OK,
			Detail: "processes outside of this container cannot be seen from here, nor their flags: run check on the node, or with hostPID",
		})
	case len(items) == 0:
		return []Item{{Name: "other proxies", Status: OK, Detail: "none seen"}}
	}
	return items
}

// seesAllProcesses reports whether we are in the PID namespace that the kernel made first, whose number is part of its
// interface (PROC_PID_INIT_INO). In a Pod without hostPID there are the Pod's processes alone.
func seesAllProcesses(proc fs.FS) bool {
	namespace, err := fs.ReadLink(proc, "self/ns/pid")
	return err == nil && namespace == "pid:[4026531836]"
}

// checkLink is about the interface of a proxy whose process is not seen.
func checkLink(link, program, mend string, allSeen bool) Item {
	i := Item{Name: "interface " + link, Status: Warn}
	if allSeen {
		i.Detail, i.Mend = program+" does not run here and has left it behind", mend
		return i
	}
	i.Detail = program + " in IPVS mode runs here, or has left it behind; whether it spares our addresses cannot be seen from this container"
	i.Mend = "on the node itself, or in a Pod with hostPID, check names the flags that are missing, and does not warn if none are; if it is gone: " + mend
	return i
}

func title(p Process) string { return fmt.Sprintf("%s (process %d)", p.Name, p.PID) }

func checkKubeRouter(p Process) Item {
	if value, _ := p.flag("run-service-proxy"); value == "false" {
		return Item{Name: title(p), Status: OK, Detail: "--run-service-proxy=false"}
	}
	return Item{
		Name: title(p), Status: Fail,
		Detail: "its service proxy deletes every virtual server that it does not know",
		Mend:   "run it with --run-service-proxy=false",
	}
}

// kubeProxy is what matters of kube-proxy's configuration.
type kubeProxy struct {
	mode    string   // empty if unknown
	serves  []string // --nodeport-addresses
	spares  []string // --ipvs-exclude-cidrs
	problem string   // why it is not known
}

// readKubeProxy takes the flags, or the file that --config names: it replaces the flags.
func readKubeProxy(p Process, proc fs.FS) kubeProxy {
	file, hasFile := p.flag("config")
	if !hasFile {
		mode, _ := p.flag("proxy-mode")
		return kubeProxy{mode: orDefault(mode, "iptables"), serves: p.list("nodeport-addresses"), spares: p.list("ipvs-exclude-cidrs")}
	}
	text, err := p.readFile(proc, file)
	if err != nil {
		return kubeProxy{problem: fmt.Sprintf("its --config %s cannot be read from here: %s", told(file), told(err.Error()))}
	}
	var config struct {
		Mode              string   `json:"mode"`
		NodePortAddresses []string `json:"nodePortAddresses"`
		IPVS              struct {
			ExcludeCIDRs []string `json:"excludeCIDRs"`
		} `json:"ipvs"`
	}
	if err := yaml.Unmarshal(text, &config); err != nil {
		return kubeProxy{problem: fmt.Sprintf("its --config %s: %s", told(file), told(err.Error()))}
	}
	return kubeProxy{mode: orDefault(config.Mode, "iptables"), serves: config.NodePortAddresses, spares: config.IPVS.ExcludeCIDRs}
}

// checkKubeProxy knows the two ways in which kube-proxy gets in the way: in IPVS mode it deletes virtual servers that it
// does not know, and in every mode it answers on the node ports of the addresses that it serves itself.
func checkKubeProxy(p Process, k kubeProxy, serving []netip.Addr) Item {
	i := Item{Name: title(p), Status: OK}
	if k.problem != "" {
		i.Status, i.Detail = Warn, k.problem
		i.Mend = fmt.Sprintf("see to it that it has nodePortAddresses: %v, and in IPVS mode ipvs.excludeCIDRs over the served addresses",
			loopbackCIDRs())
		return i
	}
	i.Detail = fmt.Sprintf("mode %s, --nodeport-addresses %s", told(k.mode), told(listOr(k.serves, "not set")))
	var mends []string
	if clash := k.alsoServes(serving); len(clash) > 0 {
		i.Status = Warn
		i.Detail += "; it answers on node ports of " + joinAddrs(clash) + " as well"
		mends = append(mends, "--nodeport-addresses="+strings.Join(loopbackCIDRs(), ","))
	}
	if k.mode == "ipvs" {
		i.Detail += ", --ipvs-exclude-cidrs " + told(listOr(k.spares, "not set"))
		if bare := outside(serving, k.spares); len(bare) > 0 {
			i.Status = Fail
			i.Detail += "; it deletes our virtual servers on " + joinAddrs(bare)
			mends = append(mends, "--ipvs-exclude-cidrs="+strings.Join(hostCIDRs(serving), ","))
		}
	}
	if len(mends) > 0 {
		i.Mend = "start kube-proxy with " + strings.Join(mends, " ") +
			" (in its configuration file: nodePortAddresses, ipvs.excludeCIDRs)"
	}
	return i
}

func loopbackCIDRs() []string { return []string{"127.0.0.0/8", "::1/128"} }

// alsoServes are those of our addresses on which kube-proxy opens node ports. It takes a family without any CIDR of its
// own for all of that family; words other than localhost (primary, all) are taken for our addresses too.
func (k kubeProxy) alsoServes(serving []netip.Addr) []netip.Addr {
	var clash []netip.Addr
	for _, a := range serving {
		named, covered := false, false
		for _, text := range k.serves {
			prefix, err := netip.ParsePrefix(text)
			switch {
			case text == "localhost":
				named = true
			case err != nil:
				named, covered = true, true
			case prefix.Addr().Is4() == a.Is4():
				named = true
				covered = covered || prefix.Contains(a)
			}
		}
		if covered || !named {
			clash = append(clash, a)
		}
	}
	return clash
}

// outside are the addresses that no CIDR contains.
func outside(addrs []netip.Addr, cidrs []string) []netip.Addr {
	var out []netip.Addr
	for _, a := range addrs {
		inside := func(text string) bool {
			prefix, err := netip.ParsePrefix(text)
			return err == nil && prefix.Contains(a)
		}
		if !slices.ContainsFunc(cidrs, inside) {
			out = append(out, a)
		}
	}
	return out
}

func hostCIDRs(addrs []netip.Addr) []string {
	out := make([]string, len(addrs))
	for i, a := range addrs {
		out[i] = netip.PrefixFrom(a, a.BitLen()).String()
	}
	return out
}

func joinAddrs(addrs []netip.Addr) string {
	out := make([]string, len(addrs))
	for i, a := range addrs {
		out[i] = a.String()
	}
	return strings.Join(out, ", ")
}
