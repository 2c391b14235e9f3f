package allocator_test

import (
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/kube-ipvs/kube-ipvs/allocator"
	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// model is what the Ledger should know, kept as it was told and sorted anew for every question.
type model map[allocator.ID]told

type told struct {
	owner  allocator.Owner
	claims []allocator.Claim
}

// rank is a claimant as texts: the one whose texts come first holds.
func rank(c allocator.Claimant) []string {
	return []string{
		strconv.Itoa(int(c.Kind)), c.Created.UTC().Format("2006-01-02T15:04:05.000000000"), c.Namespace, c.Name, c.UID,
	}
}

func (m model) claimants(key frontend.Key) []allocator.Claimant {
	var all []allocator.Claimant
	for _, t := range m {
		var kinds []allocator.Kind
		for _, c := range t.claims {
			if c.Key == key {
				kinds = append(kinds, c.Kind)
			}
		}
		if len(kinds) > 0 {
			all = append(all, allocator.Claimant{Owner: t.owner, Kind: slices.Min(kinds)})
		}
	}
	slices.SortFunc(all, func(a, b allocator.Claimant) int { return slices.Compare(rank(a), rank(b)) })
	return all
}

// snapshot answers for every frontend that anybody may claim here.
func (m model) snapshot() map[frontend.Key][]allocator.Claimant {
	s := map[frontend.Key][]allocator.Claimant{}
	for _, key := range fewKeys() {
		if c := m.claimants(key); len(c) > 0 {
			s[key] = c
		}
	}
	return s
}

// toldOf are the owners, except the one who changed, that claim a frontend whose holder differs in anything.
func toldOf(before, after map[frontend.Key][]allocator.Claimant, changed allocator.ID) []allocator.ID {
	ids := map[allocator.ID]bool{}
	for key, claimants := range after {
		if was := before[key]; len(was) > 0 && was[0] == claimants[0] {
			continue
		}
		for _, c := range claimants {
			if c.ID != changed {
				ids[c.ID] = true
			}
		}
	}
	return slices.SortedFunc(maps.Keys(ids), allocator.ID.Compare)
}

// fewKeys are so few that rivals are frequent.
func fewKeys() []frontend.Key {
	var keys []frontend.Key
	for _, addr := range []string{"10.1.0.10", "fd01::10"} {
		for _, protocol := range []frontend.Protocol{frontend.TCP, frontend.UDP} {
			for _, port := range []uint16{80, 30080} {
				keys = append(keys, frontend.NewKey(netip.MustParseAddr(addr), protocol, port))
			}
		}
	}
	return keys
}

// drawTold is an owner of few, made anew each time: its age and UID change, as if the object had been replaced. In text,
// "a-b/x" stands before "a/x", but the namespace decides first.
func drawTold(t *rapid.T) told {
	owner := allocator.Owner{
		ID: allocator.ID{
			Namespace: rapid.SampledFrom([]string{"a", "a-b"}).Draw(t, "namespace"),
			Name:      rapid.SampledFrom([]string{"x", "y", "z"}).Draw(t, "name"),
		},
		UID: rapid.SampledFrom([]string{"", "1", "2"}).Draw(t, "uid"),
	}
	if age := rapid.IntRange(0, 3).Draw(t, "age"); age > 0 {
		owner.Created = time.Date(2026, 1, age, 0, 0, 0, 0, time.UTC)
	}
	return told{owner, rapid.SliceOfN(rapid.Custom(func(t *rapid.T) allocator.Claim {
		return allocator.Claim{
			Key:  rapid.SampledFrom(fewKeys()).Draw(t, "key"),
			Kind: rapid.SampledFrom([]allocator.Kind{allocator.NodePort, allocator.HealthCheck, allocator.ExtraPort}).Draw(t, "kind"),
		}
	}), 0, 6).Draw(t, "claims")}
}

func TestLedgerEqualsASortOfAllClaims(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l, m := allocator.New(), model{}
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			before, change := m.snapshot(), drawTold(t)
			if known, ok := m[change.owner.ID]; ok && rapid.Bool().Draw(t, "same object") {
				change.owner = known.owner
			}
			m[change.owner.ID] = change
			told, after := l.Set(change.owner, change.claims), m.snapshot()
			if want := toldOf(before, after, change.owner.ID); !slices.Equal(want, told) {
				t.Fatalf("Set returns %v, want %v", told, want)
			}
			if diff := cmp.Diff(after, maps.Collect(l.Claims())); diff != "" {
				t.Fatalf("claims (-want +got):\n%s", diff)
			}
			checkHolders(t, l, m)
			ports := new(allocator.Ports)
			for key := range after {
				ports.Add(key.Port)
			}
			if got := l.Ports(); !got.Equal(ports) {
				t.Fatalf("claimed ports %s, want %s", got, ports)
			}
		}
	})
}

func checkHolders(t *rapid.T, l *allocator.Ledger, m model) {
	for _, key := range fewKeys() {
		var first allocator.Claimant
		claimants := m.claimants(key)
		if len(claimants) > 0 {
			first = claimants[0]
		}
		if got, ok := l.Holder(key); got != first.Owner || ok != (len(claimants) > 0) {
			t.Fatalf("%s is held by %v, %v, want %v", key, got, ok, first.Owner)
		}
		for id := range m {
			for kind := allocator.NodePort; kind <= allocator.ExtraPort; kind++ {
				want := len(claimants) > 0 && id == first.ID && kind == first.Kind
				if got := l.Holds(id, allocator.Claim{Key: key, Kind: kind}); got != want {
					t.Fatalf("%s holds %s by a %s: %v, want %v", id, key, kind, got, want)
				}
			}
		}
	}
}

// Two nodes that end with the same Services know the same claimants in the same order, whatever came in between.
func TestOrderOfEventsDecidesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l, last := allocator.New(), model{}
		for _, event := range rapid.SliceOfN(rapid.Custom(drawTold), 1, 20).Draw(t, "events") {
			l.Set(event.owner, event.claims)
			last[event.owner.ID] = event
		}
		final := slices.SortedFunc(maps.Values(last), func(a, b told) int { return a.owner.Compare(b.owner.ID) })
		other := allocator.New()
		for _, event := range rapid.Permutation(final).Draw(t, "other order") {
			other.Set(event.owner, event.claims)
		}
		if diff := cmp.Diff(maps.Collect(l.Claims()), maps.Collect(other.Claims())); diff != "" {
			t.Fatalf("one node knows (-), the other (+):\n%s", diff)
		}
	})
}
