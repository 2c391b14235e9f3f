package floor

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kube-ipvs/kube-ipvs/e2e/bench/objects"
	"github.com/kube-ipvs/kube-ipvs/e2e/bench/result"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
)

func TestWaysTakeTurnsAndSlowOnesHaveOneRoundOfManyServices(t *testing.T) {
	ways := []way{{name: "a"}, {name: "b", slow: true}, {name: "c"}}
	for _, size := range []int{100, manyServices} {
		var order []string
		err := run(size, 3, ways, func(w way) (time.Duration, error) {
			order = append(order, w.name)
			return time.Second, nil
		}, func(s result.Sample) { order = append(order, "+"+s.Subject+fmt.Sprint(len(s.Values))) })
		if err != nil {
			t.Fatal(err)
		}
		t.Log(order)
		for _, w := range ways {
			rounds := 3
			if w.slow && size >= manyServices {
				rounds = 1
			}
			last := slices.Index(order, fmt.Sprint("+", w.name, rounds))
			if last < 1 || order[last-1] != w.name || slices.Contains(order[last:], w.name) {
				t.Errorf("%d Services: %s is not emitted after its %d rounds: %v", size, w.name, rounds, order)
			}
		}
		if size == 100 && strings.Join(order[:4], " ") != "a b c b" {
			t.Errorf("the second round does not begin with the second way: %v", order)
		}
	}
}

func TestAWayThatFailsEndsTheRunByItsName(t *testing.T) {
	broken := errors.New("broken")
	err := run(100, 3, ways(), func(way) (time.Duration, error) { return 0, broken }, func(s result.Sample) { t.Errorf("%+v", s) })
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), result.BareBatched) {
		t.Error(err)
	}
}

func TestATableHasEveryFrontendWithEveryEndpoint(t *testing.T) {
	plan := objects.Plan{Sizes: []int{50}, Endpoints: 7, Seed: 3}
	table := tableOf(plan, 50)
	if len(table) != 50*len(objects.Addresses()) {
		t.Errorf("%d virtual servers", len(table))
	}
	for key, e := range table {
		if len(e.Reals) != 7 {
			t.Errorf("%s has %d real servers", key, len(e.Reals))
		}
	}
}

func TestATableThatIsNotThereIsSeen(t *testing.T) {
	want := tableOf(objects.Plan{Sizes: []int{400}, Endpoints: 2, Seed: 1}, 400)
	for _, c := range []struct {
		name  string
		spoil func(ipvs.Table)
		bad   bool
	}{
		{"nothing", func(ipvs.Table) {}, false},
		{"a virtual server", func(t ipvs.Table) { delete(t, t.Keys()[3]) }, true},
		{"another scheduler", func(t ipvs.Table) {
			key := t.Keys()[3]
			t[key] = ipvs.Entry{VirtualServer: ipvs.VirtualServer{Scheduler: "wrr"}, Reals: t[key].Reals}
		}, true},
		{"all real servers", func(t ipvs.Table) {
			for key, e := range t {
				t[key] = ipvs.Entry{VirtualServer: e.VirtualServer}
			}
		}, true},
	} {
		have := want.Clone()
		c.spoil(have)
		h := ipvsfake.New(ipvsfake.WithSchedulers("rr", "wrr"), ipvsfake.WithTable(have))
		if err := isThere(t.Context(), h, want); (err != nil) != c.bad {
			t.Errorf("without %s: %v", c.name, err)
		}
	}
}

func TestSlowWaysAreMeasuredAtTheFirstSizeOfManyServices(t *testing.T) {
	for _, c := range []struct {
		sizes []int
		size  int
		want  int
	}{
		{[]int{100, 1000, 2700}, 100, 4},
		{[]int{100, 1000, 2700}, 1000, 4},
		{[]int{100, 1000, 2700}, 2700, 2},
		{[]int{100, 2700}, 2700, 4},
		{[]int{1000}, 1000, 4},
	} {
		if got := waysAt(objects.Plan{Sizes: c.sizes}, c.size); len(got) != c.want {
			t.Errorf("%d of %v: %d ways, want %d", c.size, c.sizes, len(got), c.want)
		}
	}
}
