package floor

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kube-ipvs/kube-ipvs/e2e/bench/objects"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
)

// A floor that writes less than everybody else, or something else, would be quicker than what is possible.
func TestAFloorThatDidNotWriteTheTableIsNoFloor(t *testing.T) {
	table := tableOf(objects.Plan{Sizes: []int{5}, Endpoints: 3, Seed: 1}, 5)
	key := table.Keys()[2]
	var real netip.AddrPort
	for real = range table[key].Reals {
		break
	}
	for _, c := range []struct {
		name  string
		wrong func(ipvs.Table) // what is wrong with what is written
		error string           // what it says; "" for none
	}{
		{"as it should be", func(ipvs.Table) {}, ""},
		{"a virtual server is missing", func(t ipvs.Table) { delete(t, key) }, "9 virtual servers of 10"},
		{"a real server is missing", func(t ipvs.Table) { delete(t[key].Reals, real) }, "other real servers"},
		{"a real server more", func(t ipvs.Table) { t[key].Reals[netip.MustParseAddrPort("10.9.9.9:1")] = ipvs.RealServer{Weight: 1} }, "other real servers"},
		{"another weight", func(t ipvs.Table) { t[key].Reals[real] = ipvs.RealServer{Weight: 2} }, "other real servers"},
		{"another way of forwarding", func(t ipvs.Table) { t[key].Reals[real] = ipvs.RealServer{Weight: 1, Forwarding: ipvs.Route} }, "other real servers"},
		{"another scheduler", func(t ipvs.Table) {
			t[key] = ipvs.Entry{VirtualServer: ipvs.VirtualServer{Scheduler: "wrr"}, Reals: t[key].Reals}
		}, "or others"},
		{"nothing", func(t ipvs.Table) { clear(t) }, "0 virtual servers of 10"},
	} {
		for _, check := range []bool{true, false} {
			kernel := ipvsfake.New()
			w := way{prepare: func(context.Context, ipvs.Table) (func(context.Context) error, func(), error) {
				return func(ctx context.Context) error {
					written := table.Clone()
					c.wrong(written)
					return errors.Join(kernel.Do(ctx, ipvs.Diff(nil, written))...)
				}, func() {}, nil
			}}
			took, err := w.measureOn(t.Context(), kernel, table, check)
			if wrong := check && c.error != ""; (err != nil) != wrong || wrong && (took != 0 || !strings.Contains(err.Error(), c.error)) {
				t.Errorf("%s, checked: %v: %v, %v", c.name, check, took, err)
			}
			if left := len(kernel.Table()); c.error == "" && left > 0 {
				t.Errorf("%s: %d virtual servers are left", c.name, left)
			}
		}
	}
}

func TestAFloorThatCannotWriteOrBeReadIsNoFloor(t *testing.T) {
	failure := errors.New("netlink")
	table := tableOf(objects.Plan{Sizes: []int{1}, Endpoints: 1, Seed: 1}, 1)
	ends := 0
	prepare := func(ready, written error) func(context.Context, ipvs.Table) (func(context.Context) error, func(), error) {
		return func(context.Context, ipvs.Table) (func(context.Context) error, func(), error) {
			return func(context.Context) error { return written }, func() { ends++ }, ready
		}
	}
	closed := ipvsfake.New()
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		kernel ipvs.Handle
		w      way
		ends   int
	}{
		{"it is not prepared", ipvsfake.New(), way{prepare: prepare(failure, nil)}, 0},
		{"it does not write", ipvsfake.New(), way{prepare: prepare(nil, failure)}, 1},
		{"the kernel is not read", closed, way{prepare: prepare(nil, nil)}, 1},
	} {
		ends = 0
		if _, err := c.w.measureOn(t.Context(), c.kernel, table, true); err == nil || c.kernel != closed && !errors.Is(err, failure) || ends != c.ends {
			t.Errorf("%s: %v, put away %d times", c.name, err, ends)
		}
	}
}

func TestTheFirstWriteOfEachWayIsChecked(t *testing.T) {
	var checked []string
	ways := []way{{name: "a"}, {name: "b"}}
	measure := checkOnce(func(w way, check bool) (time.Duration, error) {
		if check {
			checked = append(checked, w.name)
		}
		return time.Second, nil
	})
	for range 3 {
		for _, w := range ways {
			if took, err := measure(w); took != time.Second || err != nil {
				t.Errorf("%v, %v", took, err)
			}
		}
	}
	if !slices.Equal(checked, []string{"a", "b"}) {
		t.Errorf("checked %v", checked)
	}
}
