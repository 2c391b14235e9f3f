// Package agent runs the real agent on a host of package topo, and writes the manifests that it reads:
//
//	Manifests ─► directory ─► kube-ipvs run (in the namespace of a topo.Host) ─► kernel ─► Table
//	                                        │
//	                                        └─► Ready, Metrics, Log
//
// The agent's binary is $KUBE_IPVS if that is set, else kube-ipvs in PATH, where `-bin ./cmd/kube-ipvs` of the lab's
// command puts it.
package agent

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
)

const (
	// startLimit bounds the time from the start of the process until it is ready. The guest is slow.
	startLimit = time.Minute
	// stopLimit bounds the time from SIGTERM to the end of the process.
	stopLimit = 15 * time.Second
)

// Options say how the agent is run. StateDir and one of Dir and Kubeconfig are required.
type Options struct {
	Dir        string    // manifests
	Kubeconfig string    // of an API server
	Binary     string    // the agent's program; that of the package's comment if empty
	Root       string    // what the agent takes for /, with Binary in it; / if empty
	NodeName   string    // the host's name if empty
	StateDir   string    // hosts and restarts of one host: the same for restarts, never shared by hosts
	Flags      []string  // more flags of run
	UID        uint32    // the user that it runs as, root if 0
	Ambient    []uintptr // capabilities that another user than root keeps
}

// source are the flags that say where Services come from.
func (o *Options) source() ([]string, error) {
	switch {
	case o.StateDir == "" || (o.Dir == "") == (o.Kubeconfig == ""):
		return nil, errors.New("StateDir and one of Dir and Kubeconfig are required")
	case o.Dir != "":
		return []string{"--manifests", o.Dir}, nil
	default:
		return []string{"--kubeconfig", o.Kubeconfig}, nil
	}
}

// Agent is a running agent.
type Agent struct {
	host  *topo.Host
	cmd   *topo.Cmd
	log   *log
	ended chan struct{} // closed when the process is gone
	err   error         // how it ended; valid after ended
}

// Start runs the agent and returns when it is ready: everything that its source has is in the kernel. The end of ctx kills
// the agent.
func Start(ctx context.Context, host *topo.Host, o Options) (*Agent, error) {
	a, err := Launch(ctx, host, o)
	if err != nil {
		return nil, err
	}
	if err := a.awaitReady(ctx); err != nil {
		return nil, errors.Join(err, a.Kill())
	}
	return a, nil
}

// Launch runs the agent and does not wait for it.
func Launch(ctx context.Context, host *topo.Host, o Options) (*Agent, error) {
	source, err := o.source()
	if err != nil {
		return nil, fmt.Errorf("start agent: %w", err)
	}
	args := slices.Concat([]string{"run"}, source,
		[]string{"--hostname-override", cmp.Or(o.NodeName, host.Name), "--state-dir", o.StateDir}, o.Flags)
	program := cmp.Or(o.Binary, binary())
	a := &Agent{host: host, cmd: host.Command(ctx, program, args...), log: &log{}, ended: make(chan struct{})}
	a.cmd.Stdout, a.cmd.Stderr = a.log, a.log
	a.cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: o.Root}
	if o.Root != "" {
		a.cmd.Dir, a.cmd.Env = "/", []string{"PATH=/usr/bin:/usr/sbin"}
	}
	if o.UID != 0 {
		a.cmd.SysProcAttr.Credential = &syscall.Credential{Uid: o.UID, Gid: o.UID}
		a.cmd.SysProcAttr.AmbientCaps = o.Ambient
	}
	if err := a.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start agent on %s: %w", host.Name, err)
	}
	go func() {
		a.err = a.cmd.Wait()
		close(a.ended)
	}()
	return a, nil
}

// binary is the agent's program.
func binary() string {
	if path := os.Getenv("KUBE_IPVS"); path != "" {
		return path
	}
	return "kube-ipvs"
}

func (a *Agent) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	go func() {
		select {
		case <-a.ended:
			cancel() // nothing to wait for
		case <-ctx.Done():
		}
	}()
	if err := Eventually(ctx, "agent ready", func() error { return a.Ready(ctx) }); err != nil {
		select {
		case <-a.ended:
			err = fmt.Errorf("the agent on %s ended before it was ready: %w", a.host.Name, a.err)
		default:
			err = fmt.Errorf("the agent on %s is not ready after %s: %w", a.host.Name, startLimit, err)
		}
		return fmt.Errorf("%w\n%s", err, a.log.tail(30))
	}
	return nil
}

// PID is that of the process.
func (a *Agent) PID() int { return a.cmd.Process.Pid }

// Log is everything that the agent has written so far.
func (a *Agent) Log() string { return a.log.String() }

// Ended is closed when the process is gone.
func (a *Agent) Ended() <-chan struct{} { return a.ended }

// Stop sends SIGTERM and waits for the end of the process, which has to be a clean one.
func (a *Agent) Stop() error {
	if err := a.signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-a.ended:
	case <-time.After(stopLimit):
		return errors.Join(fmt.Errorf("the agent on %s runs %s after SIGTERM\n%s", a.host.Name, stopLimit, a.log.tail(30)), a.Kill())
	}
	if a.err != nil {
		return fmt.Errorf("the agent on %s did not end cleanly: %w\n%s", a.host.Name, a.err, a.log.tail(30))
	}
	return nil
}

// Kill sends SIGKILL and waits for the end of the process. One that has ended is not an error.
func (a *Agent) Kill() error {
	err := a.signal(syscall.SIGKILL)
	<-a.ended
	return err
}

func (a *Agent) signal(s syscall.Signal) error {
	if err := a.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal agent on %s: %w", a.host.Name, err)
	}
	return nil
}

// log collects output while others read it.
type log struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// tail is the last lines.
func (l *log) tail(n int) string {
	lines := strings.Split(strings.TrimRight(l.String(), "\n"), "\n")
	return "its last words:\n  " + strings.Join(lines[max(0, len(lines)-n):], "\n  ")
}
