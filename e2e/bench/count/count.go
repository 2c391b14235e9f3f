// Package count starts a program and counts what it and everything that it starts does: CPU time, system calls, programs executed, and
// messages to the kernel.
//
// The kernel counts, by performance events that every thread and child inherits: nothing is sampled, and no event wakes anybody up.
//
//	Start ── executes ──► this program again, as the waiter: Main
//	  ◄── its thread ──── blocks
//	  attaches counters to that thread
//	  ─────── go ───────► becomes the program, on that thread
//
// CPU time is the kernel's task clock. System calls and executed programs are its tracepoints; messages are kprobes at the functions
// that handle them, in the context of who sent them. Start loads the modules that have these functions, for all programs alike. It needs root and tracefs.
package count

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/kube-ipvs/kube-ipvs/e2e/bench/result"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
)

// grace is how long output may stay open after the program's end, held by children.
const grace = 2 * time.Second

// Process is a running program.
type Process struct {
	cmd     *topo.Cmd
	started time.Time
	ended   chan struct{}
	exit    error // of the program; to be read when ended is closed

	mu       sync.Mutex
	counters *counters // nil after the end
	last     result.Usage
	lastErr  error
}

// Start starts a program on a host, with counters attached before its first instruction. A program that uses this package calls Main first
// thing in its main function: Start runs it again as the one that waits for its counters. The counters of system calls and messages
// cost the program time, also while they stand still, which they do until Watch: nothing should be timed with them. What the program
// prints goes to log.
func Start(host *topo.Host, log io.Writer, name string, args ...string) (*Process, error) {
	events, err := prepareEvents()
	if err != nil {
		return nil, fmt.Errorf("start %s on %s: %w", name, host.Name, err)
	}
	return start(host, log, events, name, args)
}

// StartTimed is Start without counters but that of CPU time.
func StartTimed(host *topo.Host, log io.Writer, name string, args ...string) (*Process, error) {
	return start(host, log, nil, name, args)
}

func start(host *topo.Host, log io.Writer, events []event, name string, args []string) (*Process, error) {
	p, err := startWith(host, log, events, name, args)
	if err != nil {
		return nil, fmt.Errorf("start %s on %s: %w", name, host.Name, err)
	}
	return p, nil
}

func startWith(host *topo.Host, log io.Writer, events []event, name string, args []string) (*Process, error) {
	cmd := host.Command(context.Background(), "/proc/self/exe")
	cmd.Args = append([]string{waiterName, name}, args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.WaitDelay = grace
	w, err := startWaiter(cmd)
	if err != nil {
		return nil, err
	}
	defer w.close()
	p := &Process{cmd: cmd, ended: make(chan struct{})}
	p.counters, err = attach(events, w.thread)
	if err == nil {
		p.started = time.Now()
		err = w.letGo()
	}
	if err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		p.counters.close()
		return nil, err
	}
	go p.wait()
	return p, nil
}

// wait waits for the end, and keeps what was counted until then.
func (p *Process) wait() {
	p.exit = p.cmd.Wait()
	p.mu.Lock()
	p.last, p.lastErr = p.counters.read()
	p.counters.close()
	p.counters = nil
	p.mu.Unlock()
	close(p.ended)
}

// Started is when the program was let go.
func (p *Process) Started() time.Time { return p.started }

// PID is the program's.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Watch turns the counters of system calls and messages on or off, for everything that runs. CPU time is always counted.
func (p *Process) Watch(on bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.counters == nil {
		return fmt.Errorf("watch %s: %w", p.cmd.Args[1], os.ErrProcessDone)
	}
	if len(p.counters.events) == 0 {
		return fmt.Errorf("watch %s: it was started without counters", p.cmd.Args[1])
	}
	return p.counters.watch(on)
}

// Usage is what the program and its children have done so far, while it was watched; CPU time is from the program's first instruction. After the
// end it is what they had done.
func (p *Process) Usage() (result.Usage, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.counters == nil {
		return p.last, p.lastErr
	}
	return p.counters.read()
}

// Ended is closed when the program has ended.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Err is what the program ended with, once Ended is closed: nil or an *exec.ExitError.
func (p *Process) Err() error {
	if errors.Is(p.exit, exec.ErrWaitDelay) {
		return nil // a child has its output still open
	}
	return p.exit
}

// End sends a signal and waits for the end: SIGKILL follows after patience, which is an error. So is a program that has failed before: nobody
// would look for it in its log.
func (p *Process) End(s syscall.Signal, patience time.Duration) error {
	select {
	case <-p.ended:
		if err := p.Err(); err != nil {
			return fmt.Errorf("%s had ended by itself: %w", p.cmd.Args[1], err)
		}
		return nil
	default:
	}
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("end %s: %w", p.cmd.Args[1], err)
	}
	select {
	case <-p.ended:
		return nil
	case <-time.After(patience):
	}
	_ = p.cmd.Process.Kill()
	<-p.ended
	return fmt.Errorf("end %s: it did not end within %v of %v, and was killed", p.cmd.Args[1], patience, s)
}
