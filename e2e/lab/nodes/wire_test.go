package nodes

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
)

func TestATallyNamesEveryPodAndTheFirstFailures(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.FixedZone("east", 3600))
	local := topo.Tally{Pods: map[string]int{"b": 2, "a": 1}, Clients: map[netip.Addr]int{netip.MustParseAddr("10.1.0.2"): 3}}
	for range 4 {
		local.Failures = append(local.Failures, topo.Failure{At: at, Err: errors.New("refused")})
	}
	wire := newTally(local)
	const want = `a: 1, b: 2, clients map[10.1.0.2:3], failures: 4
	02:04:05.006: refused
	02:04:05.006: refused
	02:04:05.006: refused`
	if got := wire.String(); got != want || wire.Answers() != 3 {
		t.Errorf("%d answers, %s\nwant 3, %s", wire.Answers(), got, want)
	}
}
