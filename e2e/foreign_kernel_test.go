//go:build kernel

package e2e

import (
	"errors"
	"strings"
	"testing"
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

// foreignLines is what ipvsadm saves of them now.
func (r *rig) foreignLines(t *testing.T) string {
	t.Helper()
	var lines strings.Builder
	for line := range strings.Lines(r.run(t, "", "ipvsadm", "-Sn")) {
		for _, name := range []string{" 10.1.0.10:31999 ", " 192.0.2.53:53 ", " -f 7 "} {
			if strings.Contains(line, name) {
				lines.WriteString(line)
			}
		}
	}
	return lines.String()
}

func TestWhatAnotherProxyLeftIsTakenOverIfThatIsAskedFor(t *testing.T) {
	r := newRig(t)
	before := r.addForeign(t)
	r.serve(t, web(), r.both()...)
	r.start(t, bothNetworks, "--adopt")
	eventually(t, "the node port that nobody claims is gone", func() error {
		if now := r.foreignLines(t); strings.Contains(now, ":31999") {
			return errors.New(now)
		}
		return nil
	})
	var others []string
	for line := range strings.Lines(before) {
		if !strings.Contains(line, ":31999") {
			others = append(others, line)
		}
	}
	if now := r.foreignLines(t); now != strings.Join(others, "") {
		t.Errorf("of the others there is\n%s, want\n%s", now, strings.Join(others, ""))
	}
	r.served(t)
}
