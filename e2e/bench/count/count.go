// Package count starts a program and counts what it and everything that it starts does: CPU time, system calls, programs executed, and
// messages to the kernel.
package count

import (
	"io"
	"syscall"
	"time"

	"github.com/kube-ipvs/kube-ipvs/e2e/bench/result"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
)

// Process is a running program.
type Process struct{}

// Start starts a program on a host, with counters attached before its first instruction. A program that uses this package calls Main first
// thing in its main function: Start runs it again as the one that waits for its counters. The counters of system calls and messages
// cost the program time; they stand still until Watch.
func Start(host *topo.Host, log io.Writer, name string, args ...string) (*Process, error) {
	panic("to be written")
}

// Main does nothing unless this process was started by Start: then it becomes the program that is to be counted, and does not return.
func Main() { panic("to be written") }

// Started is when the program was let go.
func (p *Process) Started() time.Time { panic("to be written") }

// Watch turns the counters of system calls and messages on or off. CPU time is always counted.
func (p *Process) Watch(on bool) error { panic("to be written") }

// Usage is what the program and its children have done so far, while it was watched.
func (p *Process) Usage() (result.Usage, error) { panic("to be written") }

// Memory is the resident set of the program itself, now and at its greatest, in bytes.
func (p *Process) Memory() (now, peak int64, err error) { panic("to be written") }

// Ended is closed when the program has ended.
func (p *Process) Ended() <-chan struct{} { panic("to be written") }

// End sends a signal and waits for the end: SIGKILL follows after patience.
func (p *Process) End(s syscall.Signal, patience time.Duration) error { panic("to be written") }
