package allocator_test

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kube-ipvs/kube-ipvs/allocator"
	"github.com/kube-ipvs/kube-ipvs/frontend"
)

func key(port uint16) frontend.Key {
	return frontend.NewKey(netip.MustParseAddr("10.1.0.10"), frontend.TCP, port)
}

func owner(name string, age int) allocator.Owner {
	return allocator.Owner{
		ID: allocator.ID{Namespace: "default", Name: name}, UID: "uid-" + name,
		Created: time.Date(2026, 1, age, 0, 0, 0, 0, time.UTC),
	}
}

func claims(ports ...uint16) []allocator.Claim {
	var c []allocator.Claim
	for _, p := range ports {
		c = append(c, allocator.Claim{Key: key(p)})
	}
	return c
}

func holder(t *testing.T, l *allocator.Ledger, port uint16) string {
	t.Helper()
	o, ok := l.Holder(key(port))
	if !ok {
		return ""
	}
	return o.Name
}

func TestOlderServiceHoldsThePortWhateverTheOrderOfEvents(t *testing.T) {
	for _, order := range [][]string{{"old", "young"}, {"young", "old"}} {
		l := allocator.New()
		age := map[string]int{"old": 1, "young": 2}
		for _, name := range order {
			l.Set(owner(name, age[name]), claims(30080))
		}
		if got := holder(t, l, 30080); got != "old" {
			t.Errorf("order %v: %q holds the port, want old", order, got)
		}
	}
}

func TestBetweenEqualAgesTheNameDecides(t *testing.T) {
	l := allocator.New()
	l.Set(owner("b", 1), claims(30080))
	l.Set(owner("a", 1), claims(30080))
	if got := holder(t, l, 30080); got != "a" {
		t.Errorf("%q holds the port, want a", got)
	}
}

func TestNamespaceDecidesBeforeName(t *testing.T) {
	in := func(namespace, name string) allocator.Owner {
		return allocator.Owner{ID: allocator.ID{Namespace: namespace, Name: name}}
	}
	for _, order := range [][]allocator.Owner{{in("a", "z"), in("b", "a")}, {in("b", "web"), in("a", "web")}} {
		l := allocator.New()
		for _, o := range order {
			l.Set(o, claims(30080))
		}
		if got, _ := l.Holder(key(30080)); got.Namespace != "a" {
			t.Errorf("%s holds the port, want the one in namespace a", got)
		}
	}
}

func TestLowerKindBeatsAgeAndCountsOfTwoClaims(t *testing.T) {
	later := allocator.Claim{Key: key(30080), Kind: allocator.HealthCheck}
	l := allocator.New()
	l.Set(owner("old", 1), []allocator.Claim{later})
	l.Set(owner("young", 2), claims(30080))
	if got := holder(t, l, 30080); got != "young" {
		t.Errorf("%q holds the port, want young, which claims it by a lower kind", got)
	}
	for _, twice := range [][]allocator.Claim{append(claims(30080), later), append([]allocator.Claim{later}, claims(30080)...)} {
		l.Set(owner("old", 1), twice)
		if got := holder(t, l, 30080); got != "old" {
			t.Errorf("%q holds the port, want old, which claims it by the same kind too", got)
		}
		l.Set(owner("old", 1), []allocator.Claim{later})
	}
}

func TestOwnerHoldsAFrontendByItsLowestKindAlone(t *testing.T) {
	nodePort, check := allocator.Claim{Key: key(30080)}, allocator.Claim{Key: key(30080), Kind: allocator.HealthCheck}
	old, young := owner("old", 1), owner("young", 2)
	l := allocator.New()
	for _, c := range []struct {
		old, young []allocator.Claim
		holder     allocator.Owner
		by         allocator.Claim
	}{
		{[]allocator.Claim{check}, nil, old, check},
		{[]allocator.Claim{check}, []allocator.Claim{check}, old, check},
		{[]allocator.Claim{check}, []allocator.Claim{nodePort}, young, nodePort},
		{[]allocator.Claim{check, nodePort}, []allocator.Claim{nodePort}, old, nodePort},
	} {
		l.Set(old, c.old)
		l.Set(young, c.young)
		for _, o := range []allocator.Owner{old, young} {
			for _, by := range []allocator.Claim{nodePort, check} {
				if got, want := l.Holds(o.ID, by), o == c.holder && by == c.by; got != want {
					t.Errorf("with %v and %v, %s holds it by kind %d: %v", c.old, c.young, o.Name, by.Kind, got)
				}
			}
		}
	}
	if l.Holds(old.ID, allocator.Claim{Key: key(1)}) {
		t.Error("somebody holds what nobody claims")
	}
}

func TestNoCreationTimeIsOldest(t *testing.T) {
	l := allocator.New()
	l.Set(owner("a", 1), claims(30080))
	l.Set(allocator.Owner{ID: allocator.ID{Namespace: "default", Name: "z"}}, claims(30080))
	if got := holder(t, l, 30080); got != "z" {
		t.Errorf("%q holds the port, want z", got)
	}
}

func TestLoserTakesOverWhenTheHolderLeaves(t *testing.T) {
	l := allocator.New()
	l.Set(owner("old", 1), claims(30080))
	l.Set(owner("young", 2), claims(30080))
	changed := l.Set(owner("old", 1), nil)
	if got := holder(t, l, 30080); got != "young" {
		t.Errorf("%q holds the port, want young", got)
	}
	want := []allocator.ID{{Namespace: "default", Name: "young"}}
	if diff := cmp.Diff(want, changed); diff != "" {
		t.Errorf("owners reported as changed (-want +got):\n%s", diff)
	}
}

func TestOlderNewcomerIsReportedToTheOneItDisplaces(t *testing.T) {
	l := allocator.New()
	l.Set(owner("young", 2), claims(30080, 30081))
	changed := l.Set(owner("old", 1), claims(30080))
	want := []allocator.ID{{Namespace: "default", Name: "young"}}
	if diff := cmp.Diff(want, changed); diff != "" {
		t.Errorf("owners reported as changed (-want +got):\n%s", diff)
	}
	if got := holder(t, l, 30081); got != "young" {
		t.Errorf("%q holds 30081, which nobody else claims, want young", got)
	}
}

func TestLoserThatComesOrGoesChangesNobody(t *testing.T) {
	l := allocator.New()
	l.Set(owner("old", 1), claims(30080))
	if changed := l.Set(owner("young", 2), claims(30080)); len(changed) != 0 {
		t.Errorf("a claim without effect changed %v", changed)
	}
	if changed := l.Set(owner("young", 2), nil); len(changed) != 0 {
		t.Errorf("withdrawing a claim without effect changed %v", changed)
	}
}

func TestRivalsAreToldOfAHolderThatHoldsForAnotherReason(t *testing.T) {
	l := allocator.New()
	l.Set(owner("a", 1), claims(30080))
	l.Set(owner("b", 2), []allocator.Claim{{Key: key(30080), Kind: allocator.HealthCheck}})
	want := []allocator.ID{{Namespace: "default", Name: "b"}}
	for _, c := range []struct {
		what   string
		holder allocator.Owner
		claims []allocator.Claim
		want   []allocator.ID
	}{
		{"the same", owner("a", 1), claims(30080), nil},
		{"another kind", owner("a", 1), []allocator.Claim{{Key: key(30080), Kind: allocator.HealthCheck}}, want},
		{"another age", owner("a", 2), []allocator.Claim{{Key: key(30080), Kind: allocator.HealthCheck}}, want},
	} {
		if changed := l.Set(c.holder, c.claims); !slices.Equal(changed, c.want) {
			t.Errorf("%s: changed %v, want %v", c.what, changed, c.want)
		}
	}
}

func TestClaimantsStandInTheOrderInWhichTheyWouldTakeOver(t *testing.T) {
	extra := []allocator.Claim{{Key: key(30080), Kind: allocator.ExtraPort}}
	check := []allocator.Claim{{Key: key(30080), Kind: allocator.HealthCheck}}
	l := allocator.New()
	l.Set(owner("extra", 1), extra)
	l.Set(owner("young", 4), claims(30080))
	l.Set(owner("check", 2), check)
	l.Set(owner("old", 3), claims(30080))
	want := []allocator.Claimant{
		{Owner: owner("old", 3)},
		{Owner: owner("young", 4)},
		{Owner: owner("check", 2), Kind: allocator.HealthCheck},
		{Owner: owner("extra", 1), Kind: allocator.ExtraPort},
	}
	if diff := cmp.Diff(want, l.Claimants(key(30080))); diff != "" {
		t.Errorf("claimants (-want +got):\n%s", diff)
	}
	for _, c := range want {
		if first := l.Claimants(key(30080))[0]; first != c {
			t.Errorf("%s holds it, want %s", first.Name, c.Name)
		}
		l.Set(c.Owner, nil)
	}
	if left := l.Claimants(key(30080)); left != nil {
		t.Errorf("%v claim it after all are gone", left)
	}
}

func TestWhatAReaderDoesWithItsClaimantsIsItsOwnAffair(t *testing.T) {
	l := allocator.New()
	l.Set(owner("old", 1), claims(30080))
	l.Set(owner("young", 2), claims(30080))
	before := l.Claimants(key(30080))
	slices.Reverse(l.Claimants(key(30080)))
	for _, of := range l.Claims() {
		clear(of)
	}
	l.Set(owner("old", 1), nil)
	if want := []allocator.Claimant{{Owner: owner("old", 1)}, {Owner: owner("young", 2)}}; !slices.Equal(before, want) {
		t.Errorf("what was read became %v, want %v", before, want)
	}
	if got := holder(t, l, 30080); got != "young" {
		t.Errorf("%q holds the port, want young", got)
	}
}

func TestClaimsAreSortedAndMayBeLeftEarly(t *testing.T) {
	l := allocator.New()
	l.Set(owner("a", 1), claims(30082, 30080, 30081))
	for _, want := range [][]uint16{{30080}, {30080, 30081, 30082}} {
		var got []uint16
		for key := range l.Claims() {
			if got = append(got, key.Port); len(got) == len(want) {
				break
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("ports %v, want %v", got, want)
		}
	}
}

func TestPortIsClaimedOnceOnWhateverAddressAndForWhateverProtocol(t *testing.T) {
	dns := []allocator.Claim{
		{Key: frontend.NewKey(netip.MustParseAddr("10.1.0.10"), frontend.TCP, 30053)},
		{Key: frontend.NewKey(netip.MustParseAddr("10.1.0.10"), frontend.UDP, 30053)},
		{Key: frontend.NewKey(netip.MustParseAddr("fd01::10"), frontend.UDP, 30053)},
		{Key: frontend.NewKey(netip.MustParseAddr("10.1.0.10"), frontend.TCP, 32000), Kind: allocator.HealthCheck},
		{Key: frontend.NewKey(netip.MustParseAddr("10.1.0.10"), frontend.TCP, 443), Kind: allocator.ExtraPort},
	}
	l := allocator.New()
	for _, c := range []struct {
		claims []allocator.Claim
		want   string
	}{{dns, "443,30053,32000"}, {dns[2:], "443,30053,32000"}, {dns[3:], "443,32000"}, {nil, ""}} {
		l.Set(owner("dns", 1), c.claims)
		if got := l.Ports().String(); got != c.want {
			t.Errorf("ports %q, want %q", got, c.want)
		}
	}
}

func TestKindsHaveNames(t *testing.T) {
	for kind, want := range map[allocator.Kind]string{
		allocator.NodePort: "node port", allocator.HealthCheck: "health check", allocator.ExtraPort: "extra port", 9: "kind-9",
	} {
		if got := kind.String(); got != want {
			t.Errorf("kind %d is called %q, want %q", uint8(kind), got, want)
		}
	}
}
