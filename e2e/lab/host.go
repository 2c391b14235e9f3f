package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Host runs jobs in the machine's own kernel, each step in a fresh network namespace.
type Host struct {
	Out     string        // $LAB_OUT
	Path    string        // directory of programs that come first in PATH; may be ""
	Timeout time.Duration // of a job; 0 is none
}

// CheckHost says what the machine lacks to be a Host.
func CheckHost() error {
	if os.Geteuid() != 0 {
		return errors.New("-host needs root, for network namespaces and IPVS; without -host the tests run in a guest")
	}
	if _, err := os.Stat("/proc/net/ip_vs"); err == nil {
		return nil
	}
	p, err := lookTool("modprobe")
	if err == nil {
		_, err = output(context.Background(), "", p, "ip_vs")
	}
	if err != nil {
		return fmt.Errorf("-host needs IPVS in this machine's kernel, and it has none; "+
			"without -host the tests run in a guest that has: %w", err)
	}
	return nil
}

// Run runs the job's steps. The end of ctx ends the running step and is returned.
func (h *Host) Run(ctx context.Context, job Job, o Observer) (Report, error) {
	if err := checkNetwork(job, false); err != nil {
		return Report{}, err
	}
	ctx, cancel := within(ctx, h.Timeout)
	defer cancel()
	start := time.Now()
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return Report{}, fmt.Errorf("uname: %w", err)
	}
	report := Report{Boot: Boot{Kernel: unix.ByteSliceToString(u.Release[:])}}
	for i, step := range job.Steps {
		o.Started(i)
		exit := h.step(ctx, i, step, o)
		if ctx.Err() != nil {
			return report, fmt.Errorf("%w in %s", context.Cause(ctx), step.Name)
		}
		o.Exited(exit)
	}
	report.Total = time.Since(start)
	return report, nil
}

// step runs one step. Its output comes through a pipe of frames, as a guest's does, so that one goroutine observes.
func (h *Host) step(ctx context.Context, i int, step Step, o Observer) Exit {
	r, w := io.Pipe()
	exited := make(chan Exit, 1)
	go func() {
		frames := NewFrameWriter(w)
		exited <- RunStep(ctx, i, step, h.env(), frames.Stream(FrameStdout), frames.Stream(FrameStderr))
		w.Close()
	}()
	in := &receiver{observer: o, step: i} // of output only
	for frames := newFrameReader(r); ; {
		kind, payload, err := frames.next()
		if err != nil {
			break
		}
		_ = in.frame(kind, payload)
	}
	return <-exited
}

func (h *Host) env() []string {
	env := []string{EnvLab + "=1", EnvOut + "=" + h.Out}
	for _, kv := range os.Environ() {
		switch k, v, _ := strings.Cut(kv, "="); k {
		case EnvLab, EnvOut:
		case "PATH":
			if h.Path != "" {
				v = h.Path + ":" + v
			}
			env = append(env, "PATH="+v+":"+strings.Join(sbin(), ":"))
		default:
			env = append(env, kv)
		}
	}
	return env
}
