package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab"
)

// component is a process of the control plane, which can be started again after it was stopped.
type component struct {
	name string
	file string
	args []string
	log  string

	mu     sync.Mutex
	closed bool
	cmd    *exec.Cmd // nil while stopped
	ended  chan struct{}
	why    error // set before ended is closed
}

func newComponent(b Binaries, dir, name string, args ...string) *component {
	return &component{name: name, file: b.Path(name), args: args, log: filepath.Join(dir, name+".log")}
}

// start starts the process. What it says is added to the log.
func (c *component) start() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return fmt.Errorf("start %s: the control plane is closed", c.name)
	}
	if c.cmd != nil {
		return fmt.Errorf("start %s: it runs", c.name)
	}
	log, err := os.OpenFile(c.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("start %s: %w", c.name, err)
	}
	defer log.Close()
	cmd := exec.Command(c.file, c.args...)
	cmd.Dir = filepath.Dir(c.log)
	cmd.Stdout, cmd.Stderr = log, log
	attach(cmd)
	wait, err := lab.StartAttached(cmd)
	if err != nil {
		return fmt.Errorf("start %s: %w", c.name, err)
	}
	ended := make(chan struct{})
	c.cmd, c.ended, c.why = cmd, ended, nil
	go func() {
		err := <-wait
		c.mu.Lock()
		c.why = err
		c.mu.Unlock()
		close(ended)
	}()
	return nil
}

// alive says why the process is gone, or nothing.
func (c *component) alive() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cmd == nil {
		return fmt.Errorf("%s is stopped", c.name)
	}
	select {
	case <-c.ended:
		why := c.why
		if why == nil {
			why = errors.New("exit status 0")
		}
		return fmt.Errorf("%s ended: %w\n%s", c.name, why, c.tail(20))
	default:
		return nil
	}
}

// signal sends a signal, which must not be one that ends.
func (c *component) signal(s syscall.Signal) error {
	if err := c.alive(); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.cmd.Process.Signal(s); err != nil {
		return fmt.Errorf("send %v to %s: %w", s, c.name, err)
	}
	return nil
}

// stop ends the process, if it runs, and waits for its end. With patience it may end by itself first.
func (c *component) stop(patience time.Duration) {
	c.mu.Lock()
	cmd, ended := c.cmd, c.ended
	c.cmd = nil
	c.mu.Unlock()
	if cmd == nil {
		return
	}
	if patience > 0 {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		kill := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
		defer kill.Stop()
	} else {
		_ = cmd.Process.Kill()
	}
	<-ended
}

// close ends the process for good: a test that starts it again while its run is interrupted comes too late.
func (c *component) close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.stop(0)
}

// pid returns the process's, or 0.
func (c *component) pid() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cmd == nil {
		return 0
	}
	return c.cmd.Process.Pid
}

// tail returns the last lines of the log, for people.
func (c *component) tail(lines int) string {
	b, err := os.ReadFile(c.log)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(string(bytes.TrimRight(b, "\n")), "\n")
	last := all[max(0, len(all)-lines):]
	return fmt.Sprintf("last lines of %s:\n\t%s", filepath.Base(c.log), strings.Join(last, "\n\t"))
}
