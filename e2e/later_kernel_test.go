//go:build kernel

package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/agent"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

// launch starts an agent that cannot load modules, and does not wait until it is ready.
func (r *rig) launch(t *testing.T, flags ...string) {
	t.Helper()
	path := os.Getenv("PATH")
	onlyNFT(t)
	a, err := agent.Launch(context.WithoutCancel(t.Context()), r.Node1, r.options(flags...))
	t.Setenv("PATH", path)
	must(t, err)
	r.agent = a
}

// notReady returns once the agent is alive, not ready, and says this for it.
func (r *rig) notReady(t *testing.T, reason string) {
	t.Helper()
	eventually(t, "the agent waits, for "+reason, func() error {
		if err := r.agent.Alive(t.Context()); err != nil {
			return err
		}
		err := r.agent.Ready(t.Context())
		switch {
		case err == nil:
			return errors.New("it is ready")
		case !strings.Contains(err.Error(), "503") || !strings.Contains(err.Error(), reason):
			return err
		}
		return nil
	})
}

func (r *rig) awaitReady(t *testing.T) {
	t.Helper()
	eventually(t, "the agent is ready", func() error { return r.agent.Ready(t.Context()) })
}

// A node that boots loads its modules when it likes, and what is missing may be installed while the agent runs.
func TestAnAgentThatComesBeforeItsModulesServesOnceTheyAreThere(t *testing.T) {
	r := newRig(t)
	m := withoutModules(t, "ip_vs", "nf_tables")
	r.serve(t, web(), r.both()...)
	r.launch(t, bothNetworks)
	r.notReady(t, "this kernel has no IPVS: modprobe ip_vs on the node")
	out, code, err := agent.Run(t.Context(), r.Node1, "status")
	if err != nil || code != 2 || !strings.Contains(out, "not ready") || !strings.Contains(out, "modprobe ip_vs on the node") {
		t.Errorf("status: exit code %d, %v\n%s", code, err, out)
	}
	m.load(t, "ip_vs")
	r.notReady(t, "modprobe ip_vs_rr on the node")
	m.load(t, "ip_vs_rr")
	r.notReady(t, "this kernel has no nftables: modprobe nf_tables on the node")
	m.loadByKernel(t)
	r.awaitReady(t)
	r.served(t)
	for line, want := range map[string]int{
		"Waiting until the node has what serving needs": 1, "The node lacks something else": 2, "The node has what serving needs": 1,
	} {
		if n := strings.Count(r.agent.Log(), line); n != want {
			t.Errorf("the log says %d times that %q, want %d:\n%s", n, line, want, r.agent.Log())
		}
	}
}

func TestAnAgentThatWaitsEndsAtOnceWhenItIsTold(t *testing.T) {
	r := newRig(t)
	withoutModules(t, "ip_vs")
	r.serve(t, web(), r.both()...)
	r.launch(t, bothNetworks)
	r.notReady(t, "this kernel has no IPVS")
	r.stop(t)
}

// The agent's container starts once the init container has ended.
func TestThePreparationWaitsForIPVSAndThenPrepares(t *testing.T) {
	r := newRig(t)
	m := withoutModules(t, "ip_vs")
	r.launch(t, bothNetworks, "--init-only")
	says := func(text string) {
		t.Helper()
		eventually(t, "it says: "+text, func() error {
			if log := r.agent.Log(); !strings.Contains(log, text) {
				return fmt.Errorf("it says\n%s", log)
			}
			return nil
		})
	}
	says("modprobe ip_vs on the node")
	select {
	case <-r.agent.Ended():
		t.Fatalf("it ended:\n%s", r.agent.Log())
	default:
	}
	m.loadByKernel(t)
	says("The node is prepared")
	<-r.agent.Ended()
	if got := r.sysctl(t, "ipv4/vs/conntrack"); got != "1" {
		t.Errorf("net.ipv4.vs.conntrack is %s", got)
	}
}

// reload takes module ip_vs away under a running agent, with all that it has, and loads it. The agent is held for as long as it would
// fill the table again.
func (r *rig) reload(t *testing.T, between func(m *modules)) {
	t.Helper()
	must(t, unix.Kill(r.agent.PID(), unix.SIGSTOP))
	goOn := func() {
		if err := unix.Kill(r.agent.PID(), unix.SIGCONT); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(goOn)
	r.run(t, "", "ipvsadm", "-C")
	m := withoutModules(t, "ip_vs")
	goOn()
	between(m)
	m.loadByKernel(t)
	for _, name := range m.removed {
		m.load(t, name)
	}
}

func TestAModuleThatIsLoadedAnewIsServedAndTunedAgain(t *testing.T) {
	r := newRig(t)
	r.serve(t, web(), r.both()...)
	r.start(t, bothNetworks, oftenAudited, "--ipvs-udp-timeout=33s")
	var counters ipvs.StatsReader
	must(t, r.Node1.Do(func() (err error) { counters, err = ipvs.OpenStats(ipvs.Options{}); return err }))
	defer counters.Close()
	r.countsAll(t, counters)
	r.served(t)
	r.reload(t, func(*modules) { r.notReady(t, "no IPVS") })
	r.awaitReady(t)
	eventually(t, "all is served", func() error { return r.hasReals(t, 2) })
	r.served(t)
	r.countsAll(t, counters)
	if got := r.sysctl(t, "ipv4/vs/conntrack"); got != "1" {
		t.Errorf("net.ipv4.vs.conntrack is %s", got)
	}
	if out := r.run(t, "", "ipvsadm", "-l", "--timeout"); !strings.Contains(out, " 33\n") {
		t.Errorf("%q, want 33 s for UDP", out)
	}
	if strings.Contains(r.agent.Log(), "has no scheduler") {
		t.Errorf("a scheduler was taken for missing:\n%s", r.agent.Log())
	}
}

// countsAll requires that a reader of counters has every frontend, in both of its ways.
func (r *rig) countsAll(t *testing.T, counters ipvs.StatsReader) {
	t.Helper()
	virtuals, err := counters.Virtuals(t.Context())
	must(t, err)
	use, err := counters.Use(t.Context())
	must(t, err)
	for _, addr := range r.all() {
		k := key(addr, frontend.TCP)
		if _, counted := virtuals[k]; !counted || len(use[k]) != 2 {
			t.Errorf("%s: counted %v, real servers %v", k, counted, use[k])
		}
	}
}

// A write is the first that the new module hears of an agent that audits nothing yet.
func TestAWriteToAModuleThatIsLoadedAnewIsNoMissingScheduler(t *testing.T) {
	r := newRig(t)
	r.serve(t, web(), r.both()...)
	r.start(t, bothNetworks, neverAudited)
	r.reload(t, func(*modules) {})
	late := annotated("late", nodePort+1, "scheduler", "wlc")
	r.serve(t, late, r.both()...)
	eventually(t, "it is served, with its own scheduler", func() error {
		table := r.table(t)
		for _, addr := range r.all() {
			k := frontend.NewKey(addr, frontend.TCP, nodePort+1)
			if table[k].Scheduler != "wlc" || len(table[k].Reals) != 2 {
				return fmt.Errorf("%s is %v", k, table[k])
			}
		}
		return nil
	})
	// Whoever meets the new module has it audited, long before the next audit is due.
	eventually(t, "all else is served again", func() error { return r.hasReals(t, 2) })
	if got := r.sysctl(t, "ipv4/vs/conntrack"); got != "1" {
		t.Errorf("net.ipv4.vs.conntrack is %s", got)
	}
	r.served(t)
}

// In its container the agent cannot set what the new module has lost.
func TestAnAgentThatCannotTuneANewModuleSaysSoUntilSomebodyDoes(t *testing.T) {
	r := newRig(t)
	r.run(t, "", "ipvsadm", "-Ln") // loads the module
	if out, code, err := agent.Run(t.Context(), r.Node1, "run", "--init-only", "--state-dir", r.state); err != nil || code != 0 {
		t.Fatalf("exit code %d, %v\n%s", code, err, out)
	}
	r.serve(t, web(), r.both()...)
	r.agent = r.launchConfined(t, netAdmin, oftenAudited)
	r.awaitReady(t)
	r.served(t)
	r.reload(t, func(*modules) {})
	r.notReady(t, "net.ipv4.vs.conntrack=1, net.ipv4.vs.expire_nodest_conn=1")
	r.notReady(t, "delete the agent's Pod")
	if out, code, err := agent.Run(t.Context(), r.Node1, "status"); err != nil || code != 2 || !strings.Contains(out, "IPVS") || !strings.Contains(out, "masqueraded") {
		t.Errorf("status: exit code %d, %v\n%s", code, err, out)
	}
	for _, name := range []string{"conntrack", "expire_nodest_conn", "expire_quiescent_template"} {
		must(t, r.Node1.Sysctl("net.ipv4.vs."+name, "1"))
	}
	r.awaitReady(t)
	r.served(t)
}
