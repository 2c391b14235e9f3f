package cluster

import (
	"context"
	"os/exec"
	"syscall"
	"time"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab"
)

// killAfter is how long what was asked to end may take.
const killAfter = 10 * time.Second

// attach keeps a command out of the terminal's process group, so that Ctrl-C is ours to handle, and makes it end with
// this process.
func attach(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// runToEnd runs a command. At the end of ctx it is interrupted with what it has started, so that it cleans up, and
// what does not heed that is killed.
func runToEnd(ctx context.Context, cmd *exec.Cmd) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	attach(cmd)
	wait, err := lab.StartAttached(cmd)
	if err != nil {
		return err
	}
	group := -cmd.Process.Pid
	select {
	case err := <-wait:
		return err
	case <-ctx.Done():
	}
	_ = syscall.Kill(group, syscall.SIGINT)
	kill := time.AfterFunc(killAfter, func() { _ = syscall.Kill(group, syscall.SIGKILL) })
	defer kill.Stop()
	err = <-wait
	_ = syscall.Kill(group, syscall.SIGKILL)
	if err == nil {
		return nil // it was done before it heard
	}
	return context.Cause(ctx)
}
