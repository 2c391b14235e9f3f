package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kube-ipvs/kube-ipvs/e2e/bench/job"
	"github.com/kube-ipvs/kube-ipvs/e2e/bench/result"
)

func TestTheLastAddressDecides(t *testing.T) {
	start := time.Now()
	at := func(seconds ...int) (waits []func(context.Context) (time.Time, error)) {
		for _, s := range seconds {
			waits = append(waits, func(context.Context) (time.Time, error) { return start.Add(time.Duration(s) * time.Second), nil })
		}
		return waits
	}
	for _, order := range [][]int{{3}, {1, 2, 3}, {3, 2, 1}, {1, 3, 2}} {
		last, cut, err := lastOf(t.Context(), at(order...))
		if got := last.Sub(start); got != 3*time.Second || cut || err != nil {
			t.Errorf("%v: %v, cut off %v, %v", order, got, cut, err)
		}
	}

	failure := errors.New("netlink")
	fails := func(context.Context) (time.Time, error) { return time.Time{}, failure }
	if _, cut, err := lastOf(t.Context(), append(at(1), fails)); cut || !errors.Is(err, failure) {
		t.Errorf("one failed: cut off %v, %v", cut, err)
	}
	late, stop := context.WithTimeoutCause(t.Context(), 0, errCutoff)
	defer stop()
	<-late.Done()
	if last, cut, err := lastOf(late, append(at(-1), fails)); !cut || err != nil || last.Before(start) {
		t.Errorf("one was cut off: at %v, cut off %v, %v", last.Sub(start), cut, err)
	}
}

func TestWhatEndedIsKeptBesideWhatWasCutOff(t *testing.T) {
	var out bytes.Buffer
	s := &session{runner: &runner{samples: &out, progress: io.Discard}, subject: job.Subject{Name: "a"}, size: 5}
	s.keep([]changed{
		{arrival: 1 * time.Second, patch: 2 * time.Second},
		{arrival: 3 * time.Second, patch: 4 * time.Second},
		{arrival: 9 * time.Second, patch: 10 * time.Second, cut: true},
	})
	if s.arrival == nil {
		t.Fatal("nothing is left for the counted changes to be added to")
	}
	s.arrival.Changes = 7
	s.emitArrival()
	s.emitArrival() // once is enough
	sample := func(m result.Measure, atLeast bool, changes int, values ...float64) result.Sample {
		return result.Sample{Subject: "a", Measure: m, Size: 5, Unit: result.Seconds, Values: values, AtLeast: atLeast, Changes: changes}
	}
	want := []result.Sample{
		sample(result.Patch, false, 0, 2, 4), sample(result.Arrival, true, 0, 9), sample(result.Patch, true, 0, 10),
		sample(result.Arrival, false, 7, 1, 3),
	}
	var got []result.Sample
	for d := json.NewDecoder(&out); d.More(); {
		var one result.Sample
		if err := d.Decode(&one); err != nil {
			t.Fatal(err)
		}
		got = append(got, one)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAMinuteSaysHowLongItWas(t *testing.T) {
	used := result.Usage{CPU: time.Second, Syscalls: 5}
	for _, c := range []struct {
		asked, took time.Duration
		cpu         float64
		note        string
	}{
		{time.Minute, time.Minute, 1, ""},
		{time.Minute, 80 * time.Second, 0.75, ""},
		{10 * time.Second, 10 * time.Second, 6, "watched for 10s: the value is for a minute, the counts are not"},
	} {
		s := &session{subject: job.Subject{Name: "a"}, size: 5}
		want := result.Sample{
			Subject: "a", Measure: result.Steady, Size: 5, Unit: result.Seconds, Values: []float64{c.cpu}, Usage: &used, Watched: c.took, Note: c.note,
		}
		if diff := cmp.Diff(want, s.steadySample(used, c.took, c.asked)); diff != "" {
			t.Errorf("%v of %v (-want +got):\n%s", c.took, c.asked, diff)
		}
	}
}
