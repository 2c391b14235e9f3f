//go:build kernel

package e2e

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/agent"
)

// agentUser is nobody in particular.
const agentUser = 47100

// What deploy/systemd can do and a Pod cannot: the agent is a user without privileges, but for the one capability that it is started with.
// The node was prepared by root.
func TestAnotherUserThanRootServesWithTheCapabilityThatItIsGiven(t *testing.T) {
	r := newRig(t)
	r.run(t, "", "ipvsadm", "-Ln") // loads the module, without which there are no such settings
	must(t, r.Node1.Sysctl("net.ipv4.vs.conntrack", "0"))
	if out, code, err := agent.Run(t.Context(), r.Node1, "run", "--init-only", "--state-dir", r.state); err != nil || code != 0 {
		t.Fatalf("exit code %d, %v\n%s", code, err, out)
	}
	s := web()
	r.serve(t, s, r.both()...)
	t.Run("without it the agent ends and names it", func(t *testing.T) {
		r.endsBecause(t, r.launchConfinedAs(t, agentUser, nil), "NET_ADMIN")
	})
	r.confinedAsUser(t)
	r.isUser(t)
	t.Run("it serves", r.served)
	t.Run("it follows a change", func(t *testing.T) { r.testChange(t, s) })
	t.Run("its own user's commands ask it, and root's, who would believe anybody then, do not", r.testUsersSocket)
	t.Run("it connects to nobody, whatever Services say", r.testNoConnection)
	t.Run("it mends what others flush", r.testFlush)
	t.Run("it restarts and writes nothing", func(t *testing.T) { r.testQuietRestart(t, r.confinedAsUser) })
	t.Run("cleanup, which is root's, leaves nothing", r.testPrivilegedCleanup)
}

// confinedAsUser starts the agent as a user and waits until it is ready.
func (r *rig) confinedAsUser(t *testing.T) {
	t.Helper()
	r.agent = r.launchConfinedAs(t, agentUser, netAdmin, oftenAudited)
	eventually(t, "the agent is ready", func() error { return r.agent.Ready(t.Context()) })
}

// isUser asks the kernel who the agent is.
func (r *rig) isUser(t *testing.T) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", r.agent.PID()))
	must(t, err)
	netAdmin := fmt.Sprintf("%016x", 1<<unix.CAP_NET_ADMIN)
	ids := fmt.Sprintf("\t%[1]d\t%[1]d\t%[1]d\t%[1]d", agentUser)
	for _, want := range []string{"Uid:" + ids, "Gid:" + ids, "CapPrm:\t" + netAdmin, "CapEff:\t" + netAdmin, "CapAmb:\t" + netAdmin} {
		if !strings.Contains(string(status), "\n"+want+"\n") {
			t.Errorf("the agent has not %q:\n%s", want, status)
		}
	}
}

// testUsersSocket has the commands, which run as root elsewhere, ask an agent that is not root's.
func (r *rig) testUsersSocket(t *testing.T) {
	cmd := r.Node1.Command(t.Context(), imageRoot+"/usr/bin/kube-ipvs", "status")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: agentUser, Gid: agentUser}}
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "on node node1: ") {
		t.Errorf("as its user: %v\n%s", err, out)
	}
	out, code, err := agent.Run(t.Context(), r.Node1, "status")
	want := fmt.Sprintf("process %d (\"kube-ipvs\", user %d), who is neither root nor you", r.agent.PID(), agentUser)
	if err != nil || code != 1 || !strings.Contains(out, want) {
		t.Errorf("exit code %d, %v, want %q:\n%s", code, err, want, out)
	}
}

// ownPackets are those that the agent sent first, and those that it answered with.
var ownPackets = regexp.MustCompile(`ct direction (\w+) counter packets (\d+)`)

// testNoConnection counts what the agent's user sends while Services say where to connect to, in every field that has room for it.
func (r *rig) testNoConnection(t *testing.T) {
	r.run(t, fmt.Sprintf("add table inet watch\nadd chain inet watch out { type filter hook output priority 0; }\n"+
		"add rule inet watch out meta skuid %[1]d ct direction original counter\n"+
		"add rule inet watch out meta skuid %[1]d ct direction reply counter\n",
		agentUser), "nft", "-f", "-")
	const there = "http://10.1.0.1:8080/x"
	must(t, r.Write("hostile.yaml", fmt.Sprintf(`apiVersion: v1
kind: Service
metadata:
  name: hostile
  namespace: default
  annotations:
    kube-ipvs.io/networks: %[1]q
    kube-ipvs.io/scheduler: %[1]q
    kube-ipvs.io/scheduler-flags: file:///etc/passwd
    kube-ipvs.io/source-ranges: %[1]q
    kube-ipvs.io/extra-ports: %[1]q
    kube-ipvs.io/weights: %[1]q
    kube-ipvs.io/drain-timeout: /dev/zero
spec:
  type: LoadBalancer
  externalName: example.org
  loadBalancerIP: 10.1.0.1
  externalIPs: [10.1.0.1]
  healthCheckNodePort: 31000
  externalTrafficPolicy: Local
  ports: [{name: http, port: 80, nodePort: %[2]d}]
`, there, widePort)))
	r.complaint(t, "Service default/hostile", "no node port of the Service is served until it is mended")
	r.awaitPasses(t, 2)
	listed := r.run(t, "", "nft", "list", "table", "inet", "watch")
	packets := map[string]string{}
	for _, m := range ownPackets.FindAllStringSubmatch(listed, -1) {
		packets[m[1]] = m[2]
	}
	if packets["original"] != "0" || packets["reply"] == "" || packets["reply"] == "0" {
		t.Errorf("the agent, which answered this test, sent\n%s", listed)
	}
	r.run(t, "", "nft", "delete", "table", "inet", "watch")
	must(t, os.Remove(r.Dir+"/hostile.yaml"))
	eventually(t, "the other Service alone is served", func() error {
		for k := range r.table(t) {
			if k.Port != nodePort {
				return fmt.Errorf("%s is there", k)
			}
		}
		return nil
	})
}
