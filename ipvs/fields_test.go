package ipvs_test

import (
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

// A field that is added to VirtualServer or RealServer has to be compared, printed, saved and read. These two tests
// fail until it is listed here, and then until all that is done.

func TestEveryFieldOfVirtualServerIsComparedPrintedAndRead(t *testing.T) {
	base := ipvs.VirtualServer{Scheduler: "rr", Flags: ipvs.Persistent, PersistenceTimeout: 300, PersistencePrefix: 24}
	changes := map[string]func(*ipvs.VirtualServer){
		"Scheduler":          func(v *ipvs.VirtualServer) { v.Scheduler = "wrr" },
		"Flags":              func(v *ipvs.VirtualServer) { v.Flags |= ipvs.Sched2 },
		"PersistenceTimeout": func(v *ipvs.VirtualServer) { v.PersistenceTimeout++ },
		"PersistencePrefix":  func(v *ipvs.VirtualServer) { v.PersistencePrefix-- },
	}
	everyFieldIsListed(t, reflect.TypeFor[ipvs.VirtualServer](), changes)
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			changed := base
			change(&changed)
			oneField(t, base, changed, name)
			different(t, entry(base, ipvs.RealServer{}), entry(changed, ipvs.RealServer{}))
		})
	}
	for flag := ipvs.Persistent; flag <= ipvs.Sched3; flag <<= 1 {
		if flag == 0x2 {
			continue // The kernel's own.
		}
		t.Run(fmt.Sprintf("flag %#x", uint32(flag)), func(t *testing.T) {
			changed := base
			if changed.Flags ^= flag; flag == ipvs.Persistent {
				changed = ipvs.VirtualServer{Scheduler: base.Scheduler}
			}
			different(t, entry(base, ipvs.RealServer{}), entry(changed, ipvs.RealServer{}))
		})
	}
}

func TestEveryFieldOfRealServerIsComparedPrintedAndRead(t *testing.T) {
	virtual := ipvs.VirtualServer{Scheduler: "rr"}
	base := ipvs.RealServer{Weight: 3, UpperThreshold: 20, LowerThreshold: 10}
	changes := map[string]func(*ipvs.RealServer){
		"Forwarding":     func(r *ipvs.RealServer) { r.Forwarding = ipvs.Route },
		"Weight":         func(r *ipvs.RealServer) { r.Weight = 0 },
		"UpperThreshold": func(r *ipvs.RealServer) { r.UpperThreshold++ },
		"LowerThreshold": func(r *ipvs.RealServer) { r.LowerThreshold-- },
	}
	everyFieldIsListed(t, reflect.TypeFor[ipvs.RealServer](), changes)
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			changed := base
			change(&changed)
			oneField(t, base, changed, name)
			different(t, entry(virtual, base), entry(virtual, changed))
		})
	}
}

func everyFieldIsListed[F any](t *testing.T, typ reflect.Type, changes map[string]F) {
	t.Helper()
	for i := range typ.NumField() {
		if _, listed := changes[typ.Field(i).Name]; !listed {
			t.Errorf("field %s of %s is new: list it here, print it in text.go, save.go, and read it there", typ.Field(i).Name, typ)
		}
	}
	if len(changes) != typ.NumField() {
		t.Errorf("%d changes for %d fields of %s", len(changes), typ.NumField(), typ)
	}
}

// oneField checks that a change changes the field it is named for and no other.
func oneField(t *testing.T, base, changed any, name string) {
	t.Helper()
	b, c := reflect.ValueOf(base), reflect.ValueOf(changed)
	for i := range b.NumField() {
		field := b.Type().Field(i).Name
		if differs := !b.Field(i).Equal(c.Field(i)); differs != (field == name) {
			t.Errorf("field %s differs: %v", field, differs)
		}
	}
}

func entry(v ipvs.VirtualServer, r ipvs.RealServer) ipvs.Table {
	key := frontend.NewKey(netip.MustParseAddr("10.1.0.10"), frontend.UDP, 80)
	return ipvs.Table{key: {
		VirtualServer: v,
		Reals:         map[netip.AddrPort]ipvs.RealServer{netip.MustParseAddrPort("10.244.1.2:80"): r},
	}}
}

// different checks that two valid tables are told apart by everything that looks at tables.
func different(t *testing.T, a, b ipvs.Table) {
	t.Helper()
	if a.Equal(b) {
		t.Error("Equal does not see the difference")
	}
	if plan := ipvs.Diff(a, b); len(plan) != 1 {
		t.Errorf("Diff has %d operations instead of one:\n%s", len(plan), plan)
	}
	if a.String() == b.String() {
		t.Errorf("both are printed as\n%s", a)
	}
	if save(t, a) == save(t, b) {
		t.Errorf("both are saved as\n%s", save(t, a))
	}
	for _, table := range []ipvs.Table{a, b} {
		wantTable(t, "text read back", mustParse(t, table.String()), table)
		back, err := ipvs.ParseSave(strings.NewReader(save(t, table)))
		if err != nil {
			t.Fatal(err)
		}
		wantTable(t, "saved lines read back", back, table)
	}
}
