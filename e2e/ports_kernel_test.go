//go:build kernel

package e2e

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/agent"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

// What somebody else has reserved before the agent comes: one port in the range of node ports, some beside it.
const (
	reservedSysctl  = "net.ipv4.ip_local_reserved_ports"
	ephemeralSysctl = "net.ipv4.ip_local_port_range"
	foreignReserved = "30079,40000-40010"
)

// named is a Service with node ports under other names than web.
func named(name string, nodePorts ...int32) agent.Service {
	s := agent.Service{Name: name}
	for _, n := range nodePorts {
		s.Ports = append(s.Ports, agent.Port{Name: fmt.Sprintf("p%d", n), NodePort: n})
	}
	return s
}

func TestNodePortsAreReserved(t *testing.T) {
	r := newRig(t)
	must(t, r.Node1.Sysctl(reservedSysctl, foreignReserved))
	ephemeral := r.sysctl(t, "ipv4/ip_local_port_range")
	r.serve(t, web(), r.both()...)
	r.start(t, bothNetworks)
	r.reserved(t, "30000-32767,40000-40010")
	// Of all that programs may be given now, 29999 alone is no node port.
	must(t, r.Node1.Sysctl(ephemeralSysctl, "29999 30080"))
	for _, network := range []string{"udp4", "udp6"} {
		t.Run("no "+network+" socket has a node port as its source", func(t *testing.T) { r.testSources(t, network) })
	}
	t.Run("where the range is most of what programs are given, only claimed ports are reserved", func(t *testing.T) {
		r.serve(t, named("more", 30070), r.both()...)
		r.reserved(t, "30070,30079-30080,40000-40010")
		must(t, r.Remove(named("more", 30070)))
		r.reserved(t, "30079-30080,40000-40010")
	})
	must(t, r.Node1.Sysctl(ephemeralSysctl, ephemeral))
	r.stop(t)
	r.reserved(t, "30079-30080,40000-40010") // as the virtual servers stay
	must(t, r.Node1.Sysctl(reservedSysctl, "30079-30080,40000-40010,50000"))
	out, code, err := agent.Cleanup(t.Context(), r.Node1, "--state-dir", r.state)
	if err != nil || code != 0 || !strings.Contains(out, "30080 are given back") {
		t.Errorf("cleanup: %v, exit code %d\n%s", err, code, out)
	}
	r.reserved(t, foreignReserved+",50000")
}

// reserved requires what is reserved on node 1, soon.
func (r *rig) reserved(t *testing.T, want string) {
	t.Helper()
	eventually(t, "reserved are "+want, func() error {
		if got := r.sysctl(t, "ipv4/ip_local_reserved_ports"); got != want {
			return fmt.Errorf("reserved are %q, want %q", got, want)
		}
		return nil
	})
}

// testSources opens sockets to the client until none is left.
func (r *rig) testSources(t *testing.T, network string) {
	to := netip.AddrPortFrom(r.Client.A4, 9)
	if network == "udp6" {
		to = netip.AddrPortFrom(r.Client.A6, 9)
	}
	var ports []uint16
	for range 3 {
		err := r.Node1.Do(func() error {
			c, err := net.DialUDP(network, nil, net.UDPAddrFromAddrPort(to))
			if err != nil {
				return err
			}
			t.Cleanup(func() { _ = c.Close() })
			ports = append(ports, c.LocalAddr().(*net.UDPAddr).AddrPort().Port())
			return nil
		})
		if err != nil {
			t.Logf("no socket after %v: %v", ports, err)
			break
		}
	}
	if len(ports) != 1 || ports[0] != 29999 {
		t.Errorf("sockets were given %v, want 29999 alone", ports)
	}
}

func TestProgramsThatListenOnNodePorts(t *testing.T) {
	r := newRig(t)
	r.serve(t, web(), r.both()...)
	r.start(t, bothNetworks, oftenAudited)
	t.Run("one that comes is reported and named within one audit, and takes nothing away", r.testListenerThatComes)
	r.stop(t)
	t.Run("--port-conflict=skip leaves it its port until it ends", r.testSkip)
}

func (r *rig) testListenerThatComes(t *testing.T) {
	if n := r.metric(t, `kube_ipvs_problems{reason="port-in-use"}`); n != 0 {
		t.Errorf("%v problems before", n)
	}
	program, err := r.AddHostServer(t.Context(), r.Node1, "program", nodePort)
	must(t, err)
	begin := time.Now()
	eventually(t, "the program is reported", func() error {
		if n := r.metric(t, `kube_ipvs_problems{reason="port-in-use"}`); n == 0 {
			return errors.New("no problem is")
		}
		return nil
	})
	if took := since(begin); took > soon {
		t.Errorf("reported %s after it came, with audits every second", took)
	}
	named := fmt.Sprintf("(process %d) listens there", os.Getpid()) // the test's own process is the program
	if log := r.agent.Log(); !strings.Contains(log, named) {
		t.Errorf("the log does not say %q", named)
	}
	out := r.ports(t, 2)
	for _, want := range []string{"Node node1", "30080/tcp", "default/web", "10.1.0.10,fd01::10", named} {
		if !strings.Contains(out, want) {
			t.Errorf("ports does not say %q:\n%s", want, out)
		}
	}
	t.Logf("ports:\n%s", out)
	r.answers(t, at(r.Node1.A4), "web-1", "web-2")
	must(t, program.Close())
	eventually(t, "nothing is reported any more", func() error {
		if n := r.metric(t, `kube_ipvs_problems{reason="port-in-use"}`); n != 0 {
			return fmt.Errorf("%v problems", n)
		}
		return nil
	})
	if out := r.ports(t, 0); strings.Contains(out, "listens") {
		t.Errorf("ports still says\n%s", out)
	}
}

func (r *rig) testSkip(t *testing.T) {
	const port = 30090
	late := netip.AddrPortFrom(r.Node1.A4, port)
	program, err := r.AddHostServer(t.Context(), r.Node1, "program", port)
	must(t, err)
	r.serve(t, named("late", port), r.both()...)
	r.start(t, bothNetworks, oftenAudited, "--port-conflict=skip")
	r.answers(t, late, "program")
	r.answers(t, netip.AddrPortFrom(r.Node1.A6, port), "program")
	r.answers(t, netip.AddrPortFrom(r.Node1.B4, port), "web-1", "web-2") // where it does not listen
	r.answers(t, at(r.Node1.A4), "web-1", "web-2")
	if out := r.ports(t, 2); !strings.Contains(out, "not served: ") {
		t.Errorf("ports does not say that it is not served:\n%s", out)
	}
	r.awaitPasses(t, 2)
	r.answers(t, late, "program")
	must(t, program.Close())
	r.comes(t, late)
}

func TestExtraPorts(t *testing.T) {
	r := newRig(t)
	web := web()
	web.Annotations = map[string]string{"kube-ipvs.io/extra-ports": "22=30080,443=30080,444=30080,8443=30080,9443=30080"}
	program, err := r.AddHostServer(t.Context(), r.Node1, "program", 8443)
	must(t, err)
	r.run(t, "-A -t 10.1.0.10:444 -s wlc\n-a -t 10.1.0.10:444 -r 198.51.100.1:53 -m -w 7\n", "ipvsadm", "-R")
	before := r.saved(t, " 10.1.0.10:444 ")
	r.serve(t, web, r.both()...)
	r.start(t, bothNetworks, oftenAudited, "--extra-port-range=20-500,8443")

	t.Run("answers on both networks and families", func(t *testing.T) {
		for _, addr := range []netip.Addr{r.Node1.A4, r.Node1.B4, r.Node1.A6, r.Node1.B6} {
			r.answers(t, netip.AddrPortFrom(addr, 443), "web-1", "web-2")
		}
		r.served(t)
	})
	t.Run("never SSH, and none outside of --extra-port-range", func(t *testing.T) {
		for _, port := range []uint16{22, 9443} {
			r.refused(t, topo.TCP, netip.AddrPortFrom(r.Node1.A4, port))
		}
		for _, want := range []string{"22 is not opened: the ports of SSH", "9443 is not opened"} {
			if !strings.Contains(r.agent.Log(), want) {
				t.Errorf("the log does not say %q", want)
			}
		}
	})
	t.Run("a program that listens keeps its port until it ends", func(t *testing.T) {
		r.answers(t, netip.AddrPortFrom(r.Node1.A4, 8443), "program")
		r.answers(t, netip.AddrPortFrom(r.Node1.A6, 8443), "program")
		r.answers(t, netip.AddrPortFrom(r.Node1.B4, 8443), "web-1", "web-2")
		must(t, program.Close())
		r.comes(t, netip.AddrPortFrom(r.Node1.A4, 8443))
	})
	t.Run("somebody else's virtual server stays until it goes", func(t *testing.T) {
		r.answers(t, netip.AddrPortFrom(r.Node1.B4, 444), "web-1", "web-2")
		r.awaitPasses(t, 3)
		if now := r.saved(t, " 10.1.0.10:444 "); now != before {
			t.Errorf("it is\n%s, and was\n%s", now, before)
		}
		r.run(t, "", "ipvsadm", "-D", "-t", "10.1.0.10:444")
		r.comes(t, netip.AddrPortFrom(r.Node1.A4, 444))
	})
	t.Run("the running agent says whose they are", func(t *testing.T) {
		out := r.ports(t, 0)
		for _, want := range []string{"443/tcp     extra port", "8443/tcp    extra port", "30080/tcp   node port"} {
			if !strings.Contains(out, want) {
				t.Errorf("ports does not say %q:\n%s", want, out)
			}
		}
	})
	t.Run("a restart keeps them", func(t *testing.T) {
		r.stop(t)
		r.start(t, bothNetworks, oftenAudited, "--extra-port-range=20-500,8443")
		r.answers(t, netip.AddrPortFrom(r.Node1.A4, 443), "web-1", "web-2")
	})
	t.Run("a restart after our table was deleted keeps and follows them", func(t *testing.T) {
		r.stop(t)
		r.run(t, "", "nft", "flush", "ruleset")
		must(t, r.Endpoints(web, r.both()[:1]))
		r.start(t, bothNetworks, oftenAudited, "--extra-port-range=20-500,8443")
		eventually(t, "one pod is left", func() error {
			return r.eachOf(t, 443, len(r.all()), func(e ipvs.Entry) error {
				if n := len(e.Reals); n != 1 {
					return fmt.Errorf("there are %d", n)
				}
				return nil
			})
		})
		r.answers(t, netip.AddrPortFrom(r.Node1.B6, 443), "web-1")
		must(t, r.Endpoints(web, r.both()))
	})
	t.Run("they close when nobody asks for them any more", func(t *testing.T) {
		web.Annotations = nil
		r.serve(t, web, r.both()...)
		eventually(t, "only the node port is left", func() error {
			for key := range r.table(t) {
				if key.Port != nodePort {
					return fmt.Errorf("there is %s", key)
				}
			}
			return nil
		})
		r.refused(t, topo.TCP, netip.AddrPortFrom(r.Node1.A4, 443))
		r.served(t)
	})
}

// answers requires that some requests are all answered, by these alone.
func (r *rig) answers(t *testing.T, to netip.AddrPort, by ...string) {
	t.Helper()
	const n = 4
	tally := topo.Count(t.Context(), r.Client, topo.TCP, to, n)
	got := 0
	for _, name := range by {
		got += tally.Pods[name]
	}
	if got != n {
		t.Errorf("%s: %v, want %d answers of %v", to, tally, n, by)
	}
}

// comes waits until a pod answers.
func (r *rig) comes(t *testing.T, to netip.AddrPort) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s is served", to), func() error {
		a, err := topo.Ask(t.Context(), r.Client, topo.TCP, to)
		if err == nil && !strings.HasPrefix(a.Pod, "web-") {
			err = fmt.Errorf("%s answers", a.Pod)
		}
		return err
	})
}

// ports asks the running agent.
func (r *rig) ports(t *testing.T, wantCode int) string {
	t.Helper()
	out, code, err := agent.Run(t.Context(), r.Node1, "ports")
	if err != nil || code != wantCode {
		t.Errorf("ports: %v, exit code %d, want %d\n%s", err, code, wantCode, out)
	}
	return out
}

// saved are the lines of ipvsadm that have a text.
func (r *rig) saved(t *testing.T, text string) string {
	t.Helper()
	var lines strings.Builder
	for line := range strings.Lines(r.run(t, "", "ipvsadm", "-Sn")) {
		if strings.Contains(line, text) {
			lines.WriteString(line)
		}
	}
	if lines.Len() == 0 {
		t.Fatalf("ipvsadm says nothing of %s", text)
	}
	return lines.String()
}
