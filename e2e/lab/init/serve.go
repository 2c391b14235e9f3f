package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab"
)

// serve sets the system up and runs the job. It returns why it could not, after it told the host where it can.
func serve() error {
	if err := setUp(); err != nil {
		return err
	}
	port, err := openPort(lab.PortName)
	if err != nil {
		return err
	}
	frames := lab.NewFrameWriter(port)
	if err := runJob(frames); err != nil {
		return frames.Send(lab.FrameFailed, []byte(err.Error()))
	}
	return frames.Send(lab.FrameDone, nil)
}

func runJob(frames *lab.FrameWriter) error {
	boot, err := bootReport()
	if err != nil {
		return err
	}
	if err := frames.SendJSON(lab.FrameBoot, boot); err != nil {
		return err
	}
	b, err := os.ReadFile(lab.JobPath)
	if err != nil {
		return fmt.Errorf("read job: %w", err)
	}
	var job lab.Job
	if err := json.Unmarshal(b, &job); err != nil {
		return fmt.Errorf("read job: %w", err)
	}
	if err := correctClock(job.Time); err != nil {
		return err
	}
	if job.Network {
		if err := setUpNetwork(); err != nil {
			return err
		}
	}
	stdout, stderr := frames.Stream(lab.FrameStdout), frames.Stream(lab.FrameStderr)
	for i, step := range job.Steps {
		if err := frames.Send(lab.FrameStart, []byte(strconv.Itoa(i))); err != nil {
			return err
		}
		exit := lab.RunStep(context.Background(), i, step, os.Environ(), stdout, stderr)
		if err := frames.SendJSON(lab.FrameExit, exit); err != nil {
			return err
		}
	}
	return sendFiles(frames)
}

func bootReport() (lab.Boot, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return lab.Boot{}, fmt.Errorf("uname: %w", err)
	}
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		return lab.Boot{}, fmt.Errorf("uptime: %w", err)
	}
	return lab.Boot{Kernel: unix.ByteSliceToString(u.Release[:]), Uptime: time.Duration(t.Nano())}, nil
}

// correctClock sets the clock to the host's time at the start of the job if the clock chip did not: it may be
// behind by the seconds of the boot, not by more.
func correctClock(host time.Time) error {
	if d := time.Since(host); d > -2*time.Second && d < time.Minute {
		return nil
	}
	tv := unix.NsecToTimeval(host.UnixNano())
	if err := unix.Settimeofday(&tv); err != nil {
		return fmt.Errorf("set clock: %w", err)
	}
	return nil
}

// sendFiles sends every regular file below lab.OutDir.
func sendFiles(frames *lab.FrameWriter) error {
	return filepath.WalkDir(lab.OutDir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(lab.OutDir, p)
		if err != nil {
			return err
		}
		f, err := os.Open(p)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := frames.Send(lab.FrameFile, []byte(rel)); err != nil {
			return err
		}
		_, err = io.Copy(frames.Stream(lab.FrameData), f)
		return err
	})
}
