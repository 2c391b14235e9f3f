package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The script is run with stand-ins for docker and kubectl, which say what they would of node b; node a is clean.
func TestWhatCleanupLeavesOnAKindClusterIsSeen(t *testing.T) {
	const header = "IP Virtual Server version 1.2.1 (size=4096)\nProt LocalAddress:Port Scheduler Flags\n  -> RemoteAddress:Port Forward Weight ActiveConn InActConn\n"
	const others = "table ip kube-proxy\ntable inet kube-ipvs-not\n"
	for _, c := range []struct{ name, ipvs, nft, fails, want string }{
		{"nothing", header, others, "", ""},
		{"TCP", header + "TCP  0A01000A:7594 rr\n", others, "", "1 virtual servers are left on b"},
		{"UDP", header + "UDP  0A01000A:7594 rr\n", others, "", "1 virtual servers are left on b"},
		{"SCTP", header + "SCTP 0A01000A:7594 rr\n", others, "", "1 virtual servers are left on b"},
		{"our table", header, others + "table inet kube-ipvs\n", "", "the nftables table is left on b"},
		{"a node that is not reached", header, others, "docker", "docker fails"},
		{"a Pod that is not reached", header, others, "kubectl", "kubectl fails"},
	} {
		t.Run(c.name, func(t *testing.T) {
			bin := t.TempDir()
			for name, says := range map[string]string{"docker": c.ipvs, "kubectl": c.nft} {
				clean := map[string]string{"docker": header, "kubectl": others}[name]
				script := "#!/bin/bash\n[[ $* == *get\\ pod* ]] && { echo \"pod/on-${*: -3:1}\"; exit; }\n"
				script += "if [[ $* != *on-spec.nodeName=b* && $* != 'exec b '* ]]; then cat <<E\n" + clean + "E\nexit; fi\n"
				if c.fails == name {
					script += "echo " + name + " fails >&2; exit 1\n"
				}
				script += "cat <<E\n" + says + "E\n"
				if err := os.WriteFile(filepath.Join(bin, name), []byte(script), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			cmd := exec.CommandContext(t.Context(), filepath.Join("..", "kind", "left.sh"), "kind-kube-ipvs", "a", "b")
			cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
			out, err := cmd.CombinedOutput()
			if got := strings.TrimSpace(string(out)); got != c.want || (err == nil) != (c.want == "") {
				t.Errorf("it says %q, %v; want %q", got, err, c.want)
			}
		})
	}
}
