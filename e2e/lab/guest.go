package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"
)

// Guest runs jobs in a virtual machine.
type Guest struct {
	Kernel  Kernel
	Init    string    // the static init program
	Memory  string    // as QEMU takes it: 512M, 1G
	Files   []File    // what the guest has beside the base
	Out     string    // directory for the files that the guest leaves in $LAB_OUT; "" drops them
	Console io.Writer // gets the serial console as it comes; may be nil
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
	dir, err := os.MkdirTemp("", "kube-ipvs-lab-")
	if err != nil {
		return Report{}, fmt.Errorf("run guest: %w", err)
	}
	defer os.RemoveAll(dir)
	image := filepath.Join(dir, "initramfs")
	job.Time = time.Now()
	if err := g.writeImage(image, job); err != nil {
		return Report{}, fmt.Errorf("write initramfs: %w", err)
	}
	report, err := g.boot(ctx, image, o)
	if err != nil {
		return report, fmt.Errorf("run guest: %w", err)
	}
	return report, nil
}

func (g *Guest) writeImage(name string, job Job) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	if err := writeImage(f, g.Kernel, g.Init, job, g.Files); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// boot starts QEMU and reads frames until the trailer or the guest's end.
func (g *Guest) boot(ctx context.Context, image string, o Observer) (Report, error) {
	ours, theirs, err := socketPair()
	if err != nil {
		return Report{}, err
	}
	defer ours.Close()
	console := &consoleTail{also: g.Console}
	cmd := exec.Command("qemu-system-x86_64", qemuArgs(g.Kernel.vmlinux(), image, g.Memory)...)
	cmd.Stdout, cmd.Stderr = console, console
	cmd.ExtraFiles = []*os.File{theirs} // file descriptor 3
	// In a group of its own, so that Ctrl-C is ours to handle, and never longer alive than we are.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	start := time.Now()
	wait, err := startAttached(cmd)
	theirs.Close()
	if err != nil {
		return Report{}, err
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	defer stop()

	r := &receiver{observer: o, out: g.Out, start: start, step: -1}
	err = r.receive(newFrameReader(ours))
	_ = cmd.Process.Kill() // done, or of no use any more
	qemu := <-wait
	switch {
	case err == nil:
		return r.report, nil
	case ctx.Err() != nil:
		return r.report, fmt.Errorf("%w %s\nlast lines of the console:\n%s", context.Cause(ctx), r.where(), console.last(20))
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET):
		return r.report, fmt.Errorf("the guest died %s (qemu: %v)\nlast lines of the console:\n%s", r.where(), qemu, console.last(20))
	}
	return r.report, fmt.Errorf("%w\nlast lines of the console:\n%s", err, console.last(20))
}

// startAttached starts a command whose Pdeathsig means this process: the kernel sends that signal when the thread
// that started the command ends, so that thread must stay until the command has ended.
func startAttached(cmd *exec.Cmd) (<-chan error, error) {
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

// receiver turns frames into calls of the observer and files.
type receiver struct {
	observer Observer
	out      string
	start    time.Time
	report   Report
	booted   bool
	step     int
	file     *os.File
}

// where says how far the guest came.
func (r *receiver) where() string {
	switch {
	case !r.booted:
		return "while it booted"
	case r.step < 0:
		return "between steps"
	}
	return fmt.Sprintf("in step %d", r.step+1)
}

// receive returns nil once it has the trailer.
func (r *receiver) receive(frames *frameReader) error {
	defer func() { _ = r.closeFile() }()
	for {
		kind, payload, err := frames.next()
		if err != nil {
			return err
		}
		if kind == FrameDone {
			r.report.Total = time.Since(r.start)
			return r.closeFile()
		}
		if err := r.frame(kind, payload); err != nil {
			return err
		}
	}
}

func (r *receiver) frame(kind FrameKind, payload []byte) error {
	switch kind {
	case FrameBoot:
		r.booted = true
		r.report.Ready = time.Since(r.start)
		return json.Unmarshal(payload, &r.report.Boot)
	case FrameStart:
		n, err := strconv.Atoi(string(payload))
		if err != nil {
			return fmt.Errorf("frame %q: %w", kind, err)
		}
		r.step = n
		r.observer.Started(n)
	case FrameStdout:
		r.observer.Output(r.step, Stdout, payload)
	case FrameStderr:
		r.observer.Output(r.step, Stderr, payload)
	case FrameExit:
		var e Exit
		if err := json.Unmarshal(payload, &e); err != nil {
			return fmt.Errorf("frame %q: %w", kind, err)
		}
		r.step = -1
		r.observer.Exited(e)
	case FrameFile:
		return r.openFile(string(payload))
	case FrameData:
		return r.writeFile(payload)
	case FrameFailed:
		return fmt.Errorf("init: %s", payload)
	default:
		return fmt.Errorf("unknown frame %q", kind)
	}
	return nil
}

func (r *receiver) openFile(name string) error {
	if err := r.closeFile(); err != nil || r.out == "" {
		return err
	}
	if !filepath.IsLocal(name) {
		return fmt.Errorf("the guest sent a file %q, which is outside", name)
	}
	name = filepath.Join(r.out, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := os.Create(name)
	r.file = f
	return err
}

func (r *receiver) writeFile(data []byte) error {
	if r.file == nil {
		return nil
	}
	_, err := r.file.Write(data)
	return err
}

func (r *receiver) closeFile() error {
	if r.file == nil {
		return nil
	}
	err := r.file.Close()
	r.file = nil
	return err
}
