package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"github.com/kube-ipvs/kube-ipvs/e2e/chaos/job"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab"
)

// observer shows what the guest says and keeps its result. It implements lab.Observer.
type observer struct {
	progress io.Writer
	stdout   bytes.Buffer
	exit     lab.Exit
}

// Started implements lab.Observer.
func (*observer) Started(int) {}

// Output implements lab.Observer.
func (o *observer) Output(_ int, s lab.Stream, data []byte) {
	if s == lab.Stderr {
		_, _ = o.progress.Write(data)
		return
	}
	_, _ = o.stdout.Write(data)
}

// Exited implements lab.Observer.
func (o *observer) Exited(e lab.Exit) { o.exit = e }

// result is what the guest said in the end.
func (o *observer) result() (r job.Result, err error) {
	if o.exit.Error != "" || o.exit.Code != 0 {
		return r, fmt.Errorf("the guest's program ended with code %d: %s", o.exit.Code, o.exit.Error)
	}
	if err := json.Unmarshal(o.stdout.Bytes(), &r); err != nil {
		return r, fmt.Errorf("the guest's result: %w", err)
	}
	return r, nil
}
