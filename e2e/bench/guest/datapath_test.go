package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"testing"

	"github.com/kube-ipvs/kube-ipvs/e2e/bench/job"
	"github.com/kube-ipvs/kube-ipvs/e2e/bench/result"
)

func TestWhatIsMeasuredOfABusyProgramSaysSo(t *testing.T) {
	var out bytes.Buffer
	s := &session{runner: &runner{samples: &out, progress: io.Discard}, subject: job.Subject{Name: "a"}}
	never, stop := context.WithCancel(t.Context()) // nothing comes to rest in no time
	stop()
	failure := errors.New("no answer")
	err := s.rested(never, func(emit func(result.Sample)) error {
		emit(result.Sample{Measure: result.Requests, Note: "beside a"})
		return failure
	})
	if !errors.Is(err, failure) {
		t.Errorf("it ended with %v", err)
	}
	var got result.Sample
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if want := "beside a; it had not come to rest"; got.Note != want {
		t.Errorf("the note is %q, want %q", got.Note, want)
	}
}
