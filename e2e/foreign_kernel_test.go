//go:build kernel

package e2e

import (
	"strings"
	"testing"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/agent"
)

// foreign are virtual servers of somebody else, with all that ipvsadm can say of them: one on a node port of a serving
// address, one elsewhere, one without an address.
const foreign = `-A -t 10.1.0.10:31999 -s wlc -p 600
-a -t 10.1.0.10:31999 -r 10.244.1.250:80 -m -w 3
-a -t 10.1.0.10:31999 -r 10.244.1.251:80 -m -w 0
-A -u 192.0.2.53:53 -s sh -b sh-fallback,sh-port
-a -u 192.0.2.53:53 -r 198.51.100.1:53 -g -w 65535
-A -f 7 -s rr
-a -f 7 -r 10.244.1.252:0 -i -w 1
`

// addForeign makes the foreign virtual servers and returns them as the kernel has them.
func (r *rig) addForeign(t *testing.T) string {
	t.Helper()
	r.run(t, foreign, "ipvsadm", "-R")
	lines := r.foreignLines(t)
	if n := strings.Count(lines, "\n"); n != strings.Count(foreign, "\n") {
		t.Fatalf("the kernel has\n%s\nof the foreign virtual servers\n%s", lines, foreign)
	}
	return lines
}

// foreignLines is what ipvsadm saves of all that does not stand on a node port of the tests' Services.
func (r *rig) foreignLines(t *testing.T) string {
	t.Helper()
	var lines strings.Builder
	for line := range strings.Lines(r.run(t, "", "ipvsadm", "-Sn")) {
		if !strings.Contains(line, ":30080 ") {
			lines.WriteString(line)
		}
	}
	return lines.String()
}

func TestForeignVirtualServersAreLeftAsTheyAre(t *testing.T) {
	r := newRig(t)
	want := r.addForeign(t)
	untouched := func(after string) {
		t.Helper()
		if got := r.foreignLines(t); got != want {
			t.Fatalf("%s the foreign virtual servers are\n%s\nand were\n%s", after, got, want)
		}
		if n := r.metric(t, "kube_ipvs_foreign_virtual_servers"); n != 1 {
			t.Errorf("%s %v foreign virtual servers on node ports are counted, want 1", after, n)
		}
		r.served(t)
	}
	r.serve(t, web(), r.both()...)
	r.start(t, bothNetworks, oftenAudited)
	untouched("after the start")

	must(t, r.Endpoints(web(), r.both()[:1]))
	eventually(t, "web-2 leaves", func() error { return r.hasReals(t, 1) })
	untouched("after a sync")
	must(t, r.Endpoints(web(), r.both()))
	eventually(t, "web-2 is back", func() error { return r.hasReals(t, 2) })

	r.awaitPasses(t, 2)
	untouched("after audits")

	r.kill(t)
	r.start(t, bothNetworks, oftenAudited)
	r.awaitPasses(t, 1)
	untouched("after kill -9 and a start")

	r.stop(t)
	r.start(t, bothNetworks, oftenAudited)
	r.awaitPasses(t, 1)
	untouched("after SIGTERM and a start")

	r.stop(t)
	out, code, err := agent.Cleanup(t.Context(), r.Node1, "--state-dir", r.state)
	if err != nil || code != 0 {
		t.Fatalf("cleanup: %v, exit code %d\n%s", err, code, out)
	}
	if got := r.run(t, "", "ipvsadm", "-Sn"); got != want {
		t.Errorf("after cleanup the kernel has\n%s\nwant the foreign virtual servers and nothing else\n%s", got, want)
	}
}
