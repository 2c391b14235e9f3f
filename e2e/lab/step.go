package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// RunStep runs a step in a fresh network namespace, unless it is for the network. There lo is up: without an address the
// kernel refuses every IPv4 real server with EINVAL. What the step left running in its process group is killed. It needs
// CAP_SYS_ADMIN and CAP_NET_ADMIN.
func RunStep(ctx context.Context, index int, s Step, env []string, stdout, stderr io.Writer) Exit {
	began := time.Now()
	exit := Exit{Step: index}
	cmd := exec.CommandContext(ctx, s.Args[0], s.Args[1:]...)
	cmd.Dir = s.Dir
	cmd.Env = append(append([]string{}, env...), s.Env...)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	if s.OneStream {
		cmd.Stderr = stdout
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 2 * time.Second // for what holds the output open after the end
	start := startInNamespace
	if s.Network {
		start = (*exec.Cmd).Start
	}
	err := start(cmd)
	if err == nil {
		err = cmd.Wait()
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
	exit.Elapsed = time.Since(began)
	exit.Code, exit.Error = exitCode(err)
	return exit
}

// exitCode translates what Wait returned the way a shell does.
func exitCode(err error) (code int, message string) {
	if err == nil {
		return 0, ""
	}
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		if ws, ok := e.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			return 128 + int(ws.Signal()), ""
		}
		return e.ExitCode(), ""
	}
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist) {
		return 127, err.Error()
	}
	return 126, err.Error()
}

// startInNamespace starts a command on a thread of its own that has left for a new network namespace.
func startInNamespace(cmd *exec.Cmd) error {
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// The main thread stands for the process in /proc and cannot end: leave it where it is.
			defer runtime.UnlockOSThread()
			started <- startInNamespace(cmd)
			return
		}
		// Never unlocked: the runtime ends the thread with the goroutine instead of using it again.
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			started <- fmt.Errorf("new network namespace: %w", err)
			return
		}
		if err := LoopbackUp(); err != nil {
			started <- err
			return
		}
		started <- cmd.Start()
	}()
	return <-started
}

// LoopbackUp brings lo up in the network namespace of the calling thread.
func LoopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("bring lo up: %w", err)
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return fmt.Errorf("bring lo up: %w", err)
	}
	ifr.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr); err != nil {
		return fmt.Errorf("bring lo up: %w", err)
	}
	return nil
}
