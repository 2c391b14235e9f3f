// Package native measures what the agent takes on this machine's own processor while nothing changes: a guest without help of the
// processor cannot tell.
//
//	Measure ── executes ──► this program again: Main
//	   a plan's objects ─► informers ─► the loop ─► a model of the kernel, in the same process
//	   ◄── a result.Sample: the share of one core that the process took while it was watched
//
// The model is that of the tests (packages ipvsfake and filtertest). What is measured is everything that the agent does between
// the API server and its requests to the kernel. What comes on top on a node is the kernel's part (finding and writing the
// answers), and the agent's to send requests and to decode answers. It needs no privilege and no network.
package native

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/kube-ipvs/kube-ipvs/e2e/bench/objects"
	"github.com/kube-ipvs/kube-ipvs/e2e/bench/result"
)

// programName is what this program is called when it is to be measured.
const programName = "kube-ipvs-bench-native"

// grace is how long the program may take to end when nobody wants its sample any more.
const grace = time.Second

// Spec says what is measured.
type Spec struct {
	Plan objects.Plan
	// Period is between two audits.
	Period time.Duration
	// Watch is how long it is watched, from when it rests.
	Watch time.Duration
}

// Measure runs the agent's loop in a process of its own, waits until it rests, which takes two Periods at most after its start, and
// watches it. A program that uses this package calls Main first thing in its main function.
func Measure(ctx context.Context, s Spec) (result.Sample, error) {
	sample, err := measure(ctx, s)
	if err != nil {
		return sample, fmt.Errorf("measure a process at rest: %w", err)
	}
	return sample, nil
}

// errNoMain is told instead of starting this program again and again.
var errNoMain = errors.New("the main function does not call native.Main")

func measure(ctx context.Context, s Spec) (result.Sample, error) {
	if os.Args[0] == programName {
		return result.Sample{}, errNoMain
	}
	spec, err := json.Marshal(s)
	if err != nil {
		return result.Sample{}, err
	}
	var said strings.Builder
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Args = []string{programName, string(spec)}
	cmd.Env = []string{} // GOGC and its like are for whoever runs the benchmark
	cmd.Stderr, cmd.WaitDelay = &said, grace
	alive, err := cmd.StdinPipe() // it ends with the program that has started it, however that ends
	if err != nil {
		return result.Sample{}, err
	}
	defer alive.Close()
	out, err := cmd.Output()
	switch {
	case ctx.Err() != nil:
		return result.Sample{}, context.Cause(ctx)
	case err != nil:
		return result.Sample{}, fmt.Errorf("%w: %s", err, strings.TrimSpace(said.String()))
	}
	var sample result.Sample
	if err := json.Unmarshal(out, &sample); err != nil {
		return result.Sample{}, fmt.Errorf("no sample but %q: %w", firstBytes(out), err)
	}
	return sample, nil
}

func firstBytes(b []byte) []byte { return b[:min(len(b), 80)] }

// Main does nothing unless this process was started by Measure: then it is what is measured, and does not return.
func Main() {
	if len(os.Args) != 2 || os.Args[0] != programName {
		return
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel(errors.New("whoever started it has ended"))
	}()
	if err := answer(ctx, os.Args[1], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// answer measures and writes the sample.
func answer(ctx context.Context, spec string, out io.Writer) error {
	var s Spec
	if err := json.Unmarshal([]byte(spec), &s); err != nil {
		return fmt.Errorf("read what is to be measured: %w", err)
	}
	sample, err := atRest(ctx, s)
	if err != nil {
		return err
	}
	if err := json.NewEncoder(out).Encode(sample); err != nil {
		return fmt.Errorf("write sample: %w", err)
	}
	return nil
}
