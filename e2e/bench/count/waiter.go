package count

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
)

// waiterName is what this program is called when it is to wait for its counters.
const waiterName = "kube-ipvs-bench-waiter"

// The waiter's pipes: to Start, and from it.
const (
	reportFD = 3
	goFD     = 4
)

// Main does nothing unless this process was started by Start: then it becomes the program that is to be counted, and does not return.
func Main() {
	if len(os.Args) < 2 || os.Args[0] != waiterName {
		return
	}
	// The thread that executes a program gives it its counters: those of the others end with them.
	runtime.LockOSThread()
	err := become(os.Args[1:])
	_, _ = unix.Write(reportFD, []byte(err.Error()))
	os.Exit(1)
}

func become(args []string) error {
	unix.CloseOnExec(reportFD)
	unix.CloseOnExec(goFD)
	path, lookErr := exec.LookPath(args[0])
	if _, err := unix.Write(reportFD, binary.NativeEndian.AppendUint32(nil, uint32(unix.Gettid()))); err != nil {
		return fmt.Errorf("report to the counter: %w", err)
	}
	for {
		n, err := unix.Read(goFD, make([]byte, 1))
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return fmt.Errorf("wait for the counters: %w", err)
		case n == 0:
			return errors.New("the counter has ended")
		case lookErr != nil:
			return lookErr
		default:
			return fmt.Errorf("execute %s: %w", path, unix.Exec(path, args, os.Environ()))
		}
	}
}

// waiter is this program, when it waits.
type waiter struct {
	thread int // the one that will be the program
	report *os.File
	let    *os.File
}

// startWaiter starts the command as the waiter and waits until it is ready.
func startWaiter(cmd *topo.Cmd) (*waiter, error) {
	report, reportOfChild, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make pipe: %w", err)
	}
	defer reportOfChild.Close()
	goOfChild, let, err := os.Pipe()
	if err != nil {
		report.Close()
		return nil, fmt.Errorf("make pipe: %w", err)
	}
	defer goOfChild.Close()
	w := &waiter{report: report, let: let}
	cmd.ExtraFiles = []*os.File{reportOfChild, goOfChild}
	if err := cmd.Start(); err != nil {
		w.close()
		return nil, err
	}
	reportOfChild.Close() // or its end would not be seen
	var thread [4]byte
	if _, err := io.ReadFull(report, thread[:]); err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		w.close()
		return nil, fmt.Errorf("no word from the program that waits for its counters (does its main function call count.Main?): %w", err)
	}
	w.thread = int(binary.NativeEndian.Uint32(thread[:]))
	return w, nil
}

// letGo lets the waiter become the program, and returns when it is that.
func (w *waiter) letGo() error {
	if _, err := w.let.Write([]byte{1}); err != nil {
		return fmt.Errorf("let the program go: %w", err)
	}
	text, err := io.ReadAll(w.report)
	if err != nil {
		return fmt.Errorf("let the program go: %w", err)
	}
	if len(text) > 0 {
		return errors.New(string(text))
	}
	return nil
}

func (w *waiter) close() {
	w.report.Close()
	w.let.Close()
}
