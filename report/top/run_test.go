package top

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kube-ipvs/kube-ipvs/report"
)

// counting is a source whose counters grow with time.
func counting(services int) Source {
	began := time.Now()
	return func(_ context.Context, of string) (report.Traffic, error) {
		at := time.Since(began) + 100*time.Second
		return withEndpoints(node(services, at), of, at), nil
	}
}

func TestOnceLooksTwiceAndPrints(t *testing.T) {
	for name, o := range map[string]Options{
		"once":       {Sort: ByBytes, Limit: 5},
		"once_names": {Sort: ByName, Filter: "dns", Endpoints: "kube-system/dns-1"},
	} {
		synctest.Test(t, func(t *testing.T) {
			o.Interval = 10 * time.Second
			d, err := Once(t.Context(), counting(30), o)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range report.Formats() {
				var b strings.Builder
				if err := report.Write(&b, f, d); err != nil {
					t.Fatal(err)
				}
				compareGolden(t, name+"_"+string(f), b.String())
			}
		})
	}
}

func TestOnceOfAnEmptyNodeIsAnEmptyList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, err := Once(t.Context(), counting(0), Options{Interval: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		if err := report.Write(&b, report.JSON, d); err != nil || !strings.Contains(b.String(), `"ports": []`) {
			t.Errorf("%v in\n%s", err, b.String())
		}
	})
}

func TestOnceEndsWithItsContextAndWithErrorsOfTheSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := Once(ctx, counting(1), Options{Interval: time.Hour}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		gone := errors.New("gone")
		for n := range 2 {
			source := counting(1)
			asked := 0
			_, err := Once(t.Context(), func(ctx context.Context, of string) (report.Traffic, error) {
				if asked++; asked > n {
					return report.Traffic{}, gone
				}
				return source(ctx, of)
			}, Options{Interval: time.Second})
			if !errors.Is(err, gone) {
				t.Errorf("after %d answers: %v", n, err)
			}
		}
	})
}

func TestUnknownServiceIsAnErrorAtOnce(t *testing.T) {
	want := "default/wbe is not served on node node1"
	_, err := Once(t.Context(), counting(3), Options{Interval: time.Hour, Endpoints: "default/wbe"})
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("once: %v", err)
	}
	err = Run(t.Context(), counting(3), Options{Interval: time.Hour, Endpoints: "default/wbe"}, nil, nil)
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("live: %v", err)
	}
}
