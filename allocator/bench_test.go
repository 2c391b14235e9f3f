package allocator_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/kube-ipvs/kube-ipvs/allocator"
	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// service is one of many owners: it claims one port on four addresses, and each tenth claims the port of its
// predecessor, too.
func service(n int) (allocator.Owner, []allocator.Claim) {
	of := allocator.Owner{
		ID: allocator.ID{Namespace: fmt.Sprint("namespace-", n%100), Name: fmt.Sprint("service-", n)}, UID: fmt.Sprint("uid-", n),
		Created: time.Date(2026, 1, 1, 0, 0, n%1000, 0, time.UTC),
	}
	ports := []int{n}
	if n%10 == 0 {
		ports = append(ports, n-1)
	}
	var claims []allocator.Claim
	for _, network := range []byte{1, 2, 3, 4} {
		for _, port := range ports {
			// An address has fewer ports than there are claims: each 10,000 Services have addresses of their own.
			addr := netip.AddrFrom4([4]byte{10, network, byte(n / 10_000), 10})
			claims = append(claims, allocator.Claim{Key: frontend.NewKey(addr, frontend.TCP, uint16(20_000+port%10_000))})
		}
	}
	return of, claims
}

// settled is a ledger of so many claims.
func settled(claims int) *allocator.Ledger {
	l := allocator.New()
	for n, left := 0, claims; left > 0; n++ {
		owner, claims := service(n)
		l.Set(owner, claims)
		left -= len(claims)
	}
	return l
}

// flip lets an owner that is a rival of another leave and come back, as two changes.
func flip(l *allocator.Ledger) func() {
	owner, claims := service(10)
	return func() {
		l.Set(owner, nil)
		l.Set(owner, claims)
	}
}

// One change costs the same beside a hundred times as many claims. Allocations are counted exactly; time is the best of
// many tries, and something that looks at all claims would take a hundred times as long.
func TestOneChangeCostsTheSameBesideAHundredTimesAsManyClaims(t *testing.T) {
	few, many := flip(settled(1_000)), flip(settled(100_000))
	if a, b := testing.AllocsPerRun(100, few), testing.AllocsPerRun(100, many); b > 3*a {
		t.Errorf("%v allocations beside 1,000 claims, %v beside 100,000", a, b)
	}
	best := func(change func()) time.Duration {
		least := time.Hour
		for range 1000 {
			start := time.Now()
			change()
			least = min(least, time.Since(start))
		}
		return least
	}
	if a, b := best(few), best(many); b > 10*a {
		t.Errorf("%s beside 1,000 claims, %s beside 100,000", a, b)
	}
}

// BenchmarkSettle100k is a start: every owner of 100,000 claims is new.
func BenchmarkSettle100k(b *testing.B) {
	type set struct {
		owner  allocator.Owner
		claims []allocator.Claim
	}
	var sets []set
	for n, left := 0, 100_000; left > 0; n++ {
		owner, claims := service(n)
		sets = append(sets, set{owner, claims})
		left -= len(claims)
	}
	b.ReportAllocs()
	for b.Loop() {
		l := allocator.New()
		for _, s := range sets {
			l.Set(s.owner, s.claims)
		}
	}
}

// BenchmarkOneChange is one owner that leaves and comes back beside so many claims. It should not depend on their
// number.
func BenchmarkOneChange(b *testing.B) {
	for _, claims := range []int{1_000, 100_000} {
		b.Run(fmt.Sprint(claims, " claims"), func(b *testing.B) {
			change := flip(settled(claims))
			b.ReportAllocs()
			for b.Loop() {
				change()
			}
		})
	}
}

// BenchmarkSameClaims is what a Service costs of which only the endpoints have changed.
func BenchmarkSameClaims(b *testing.B) {
	l := settled(100_000)
	owner, claims := service(10)
	b.ReportAllocs()
	for b.Loop() {
		l.Set(owner, claims)
	}
}

// BenchmarkPorts is the set of all claimed ports of 100,000 claims, and its text.
func BenchmarkPorts(b *testing.B) {
	l := settled(100_000)
	for b.Loop() {
		_ = l.Ports().String()
	}
}
