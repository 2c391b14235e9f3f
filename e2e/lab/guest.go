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
)

// Guest runs jobs in a virtual machine.
type Guest struct {
	Kernel  Kernel
	Init    string        // the static init program
	Memory  string        // as QEMU takes it: 512M, 1G
	CPUs    int           // emulated each by a thread of its own; 0 is one
	Files   []File        // what the guest has beside the base
	Out     string        // directory for the files that the guest leaves in $LAB_OUT; "" drops them
	Console io.Writer     // gets the serial console as it comes; may be nil
	Timeout time.Duration // from QEMU's start to the trailer; 0 is none
	Network *Network      // nil is none
}

// Report is what is known of a job that ran to its end.
type Report struct {
	Boot  Boot
	Ready time.Duration // from QEMU's start to the first line of our code
	Total time.Duration // from QEMU's start to the trailer
}

// Run boots a guest, runs the job and ends the guest. The error says why the job did not come to its end; how the
// steps went is told to the observer only. The end of ctx ends the guest.
func (g *Guest) Run(ctx context.Context, job Job, o Observer) (Report, error) {
	if err := checkNetwork(job, g.Network != nil); err != nil {
		return Report{}, err
	}
	job.Time, job.Network = time.Now(), g.Network != nil
	image, err := g.image(job)
	if err != nil {
		return Report{}, fmt.Errorf("write initramfs: %w", err)
	}
	defer image.Close()
	report, err := g.boot(ctx, image, job, o)
	if err != nil {
		return report, fmt.Errorf("run guest: %w", err)
	}
	return report, nil
}

// image writes the initramfs to a file without a name, of which nothing is left however we end.
func (g *Guest) image(job Job) (*os.File, error) {
	f, err := os.CreateTemp("", "kube-ipvs-lab-")
	if err != nil {
		return nil, err
	}
	err = os.Remove(f.Name())
	if err == nil {
		err = writeImage(f, g.Kernel, g.Init, job, g.Files)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// boot starts QEMU and reads frames until the trailer or the guest's end.
func (g *Guest) boot(ctx context.Context, image *os.File, job Job, o Observer) (Report, error) {
	ctx, cancel := within(ctx, g.Timeout)
	defer cancel()
	ours, theirs, err := socketPair()
	if err != nil {
		return Report{}, err
	}
	defer ours.Close()
	console := &consoleTail{also: g.Console}
	cmd := exec.Command("qemu-system-x86_64", g.qemuArgs()...)
	cmd.Stdout, cmd.Stderr = console, console
	cmd.ExtraFiles = []*os.File{theirs, image} // file descriptors 3 and 4: see qemuArgs
	// In a group of its own, so that Ctrl-C is ours to handle, and never longer alive than we are.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	start := time.Now()
	wait, err := StartAttached(cmd)
	theirs.Close()
	if err != nil {
		return Report{}, err
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	defer stop()

	r := &receiver{observer: o, steps: job.Steps, out: g.Out, start: start, step: -1}
	if g.Network != nil {
		r.onBoot = func() error { return g.Network.forwarded(cmd.Process.Pid) }
	}
	err = r.receive(newFrameReader(ours))
	died := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET)
	if !died {
		_ = cmd.Process.Kill() // the guest leaves its end to us: see cmd init
	}
	qemu := awaitEnd(cmd.Process, wait)
	switch {
	case err == nil:
		return r.report, nil
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case died:
		err = fmt.Errorf("the guest died (%s)", qemu)
	}
	return r.report, fmt.Errorf("%w %s\nlast lines of the console:\n%s", err, r.where(), console.last(40))
}

// awaitEnd waits for QEMU's end, and helps it along after a while.
func awaitEnd(p *os.Process, wait <-chan error) string {
	help := time.AfterFunc(3*time.Second, func() { _ = p.Kill() })
	defer help.Stop()
	if err := <-wait; err != nil {
		return "qemu: " + err.Error()
	}
	return "qemu ended"
}

// StartAttached starts a command whose Pdeathsig means this process: the kernel sends that signal when the thread
// that started the command ends, so that thread must stay until the command has ended. The channel then has what Wait
// returned.
func StartAttached(cmd *exec.Cmd) (<-chan error, error) {
	started, wait := make(chan error, 1), make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			wait <- cmd.Wait()
		}
	}()
	return wait, <-started
}

func socketPair() (ours, theirs *os.File, err error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socketpair: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "guest"), os.NewFile(uintptr(fds[1]), "qemu"), nil
}
