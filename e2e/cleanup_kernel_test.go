//go:build kernel

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/agent"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
)

func TestCheckAndCleanup(t *testing.T) {
	r := newRig(t)
	r.run(t, "", "ipvsadm", "-Ln")                        // loads the module, without which there are no such settings
	must(t, r.Node1.Sysctl("net.ipv4.vs.conntrack", "0")) // also what it was: cleanup has to give it back
	must(t, r.Node1.Sysctl("net.ipv4.vs.expire_nodest_conn", "0"))
	r.serve(t, web(), r.both()...)
	t.Run("check passes on a node that is fit", r.testCheck)
	t.Run("check names what is missing and what mends it", r.testCheckFails)
	foreign := r.addForeign(t)
	r.start(t, bothNetworks)
	t.Run("a second agent does not start and names the first", r.testSecondAgent)
	t.Run("cleanup refuses while the agent runs", r.testCleanupRefuses)
	r.stop(t)
	must(t, r.Node1.Sysctl("net.ipv4.vs.expire_nodest_conn", "2"))
	t.Run("cleanup --drain waits for connections, gives sysctls back and leaves the rest", func(t *testing.T) {
		r.testCleanup(t, foreign)
	})
	t.Run("cleanup --stay keeps agents away until it is told to end", r.testStay)
}

func (r *rig) checkFlags() []string {
	return []string{"--manifests", r.Dir, "--state-dir", r.state, "--hostname-override", "node1", bothNetworks}
}

func (r *rig) testCheck(t *testing.T) {
	generation := r.generation(t)
	out, code, err := agent.Check(t.Context(), r.Node1, r.checkFlags()...)
	if err != nil || code != 0 {
		t.Errorf("check: %v, exit code %d, want 0\n%s", err, code, out)
	}
	for _, want := range []string{"10.1.0.10", "fd02::10", "Services with node ports: 1", "NET_ADMIN is there"} {
		if !strings.Contains(out, want) {
			t.Errorf("check does not say %q:\n%s", want, out)
		}
	}
	if r.generation(t) != generation || r.sysctl(t, "ipv4/vs/conntrack") != "0" {
		t.Error("check changed the node")
	}
	t.Logf("check on a fit node:\n%s", out)
}

func (r *rig) testCheckFails(t *testing.T) {
	path, err := exec.LookPath("kube-ipvs")
	must(t, err)
	for _, c := range []struct {
		name string
		run  func(*topo.Cmd) error
		want []string
	}{
		{"nft is not in PATH", func(c *topo.Cmd) error {
			c.Env = []string{"PATH=/nowhere"}
			return c.Run()
		}, []string{"there is no nft", "apt-get install nftables"}},
		{"without NET_ADMIN", withoutNetAdmin, []string{"NET_ADMIN is missing", "capabilities.add: [NET_ADMIN]"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd := r.Node1.Command(t.Context(), path, append([]string{"check"}, r.checkFlags()...)...)
			var out bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &out
			err := c.run(cmd)
			if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 1 {
				t.Errorf("check: %v, want exit code 1", err)
			}
			for _, want := range c.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("check does not say %q:\n%s", want, out.String())
				}
			}
		})
	}
}

// withoutNetAdmin runs a command as root that lacks one capability. The thread that it is started from lacks it for good,
// so it ends with its goroutine.
func withoutNetAdmin(c *topo.Cmd) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_NET_ADMIN, 0, 0, 0); err != nil {
			done <- err
			return
		}
		done <- c.Run()
	}()
	return <-done
}

func (r *rig) testSecondAgent(t *testing.T) {
	o := r.options(bothNetworks, "--healthz-bind-address=", "--metrics-bind-address=")
	o.StateDir = t.TempDir()
	before := r.footprint(t)
	second, err := agent.Launch(t.Context(), r.Node1, o)
	must(t, err)
	eventually(t, "the second agent ends", func() error {
		select {
		case <-second.Ended():
			return nil
		default:
			return errors.New("it runs")
		}
	})
	if want := fmt.Sprintf("process %d (\"kube-ipvs\", user 0)", r.agent.PID()); !strings.Contains(second.Log(), want) {
		t.Errorf("the second agent does not name %s:\n%s", want, second.Log())
	}
	if err := second.Stop(); err == nil {
		t.Error("the second agent ended with exit code 0")
	}
	if after := r.footprint(t); after != before {
		t.Errorf("the second agent changed the node:\n%+v\nwas\n%+v", after, before)
	}
	r.served(t)
}

func (r *rig) testCleanupRefuses(t *testing.T) {
	before := r.footprint(t)
	out, code, err := agent.Cleanup(t.Context(), r.Node1, "--state-dir", r.state)
	if err != nil || code != 1 || !strings.Contains(out, fmt.Sprintf("process %d", r.agent.PID())) {
		t.Errorf("cleanup: %v, exit code %d, want 1 and the agent named\n%s", err, code, out)
	}
	if after := r.footprint(t); after != before {
		t.Errorf("cleanup changed the node:\n%+v\nwas\n%+v", after, before)
	}
}

// testStay is what a DaemonSet that cleans up does: its Pods do not end, and no agent starts beside them.
func (r *rig) testStay(t *testing.T) {
	path, err := exec.LookPath("kube-ipvs")
	must(t, err)
	stays := r.Node1.Command(t.Context(), path, "cleanup", "--stay", "--state-dir", r.state)
	said, err := stays.StdoutPipe()
	must(t, err)
	must(t, stays.Start())
	lines := bufio.NewScanner(said)
	for lines.Scan() && !strings.HasPrefix(lines.Text(), "done: no agent starts here") { // or it ends
	}
	late, err := agent.Launch(t.Context(), r.Node1, r.options(bothNetworks))
	must(t, err)
	eventually(t, "the agent ends", func() error {
		select {
		case <-late.Ended():
			return nil
		default:
			return errors.New("it runs")
		}
	})
	if want := fmt.Sprintf("process %d (\"kube-ipvs\", user 0)", stays.Process.Pid); !strings.Contains(late.Log(), want) {
		t.Errorf("the agent does not name %s:\n%s", want, late.Log())
	}
	must(t, stays.Process.Signal(unix.SIGTERM))
	if err := stays.Wait(); err != nil {
		t.Errorf("cleanup --stay: %v", err)
	}
}

func (r *rig) testCleanup(t *testing.T, foreign string) {
	c, pod := r.dial(t, at(r.Node1.A4))
	type result struct {
		out  string
		code int
		err  error
	}
	over := make(chan result, 1)
	go func() {
		out, code, err := agent.Cleanup(context.WithoutCancel(t.Context()), r.Node1, "--drain", "--drain-timeout=1m", "--state-dir", r.state)
		over <- result{out, code, err}
	}()
	eventually(t, "only the virtual server with a connection is left", func() error {
		if n := len(r.table(t)); n != 1+2 { // and two foreign ones
			return fmt.Errorf("there are %d", n)
		}
		return nil
	})
	r.refused(t, topo.TCP, at(r.Node1.A4))
	if got := askOn(t, c); got != pod {
		t.Errorf("the open connection is answered by %s, not %s", got, pod)
	}
	select {
	case result := <-over:
		t.Fatalf("cleanup did not wait for the connection: %+v", result)
	default:
	}
	must(t, c.Close())
	end := <-over
	t.Logf("cleanup:\n%s", end.out)
	if end.err != nil || end.code != 0 {
		t.Errorf("cleanup: %v, exit code %d", end.err, end.code)
	}
	if got := r.run(t, "", "ipvsadm", "-Sn"); got != foreign {
		t.Errorf("the kernel has\n%s\nwant the foreign virtual servers and nothing else\n%s", got, foreign)
	}
	if tables := r.run(t, "", "nft", "list", "tables"); strings.Contains(tables, "kube-ipvs") {
		t.Errorf("our nftables table is still there: %s", tables)
	}
	for name, want := range map[string]string{
		"ipv4/vs/conntrack":          "0", // as it was
		"ipv4/vs/expire_nodest_conn": "2", // somebody changed it since
		"ipv4/ip_forward":            "1", // never turned off
	} {
		if got := r.sysctl(t, name); got != want {
			t.Errorf("sysctl %s is %s, want %s", name, got, want)
		}
	}
}
