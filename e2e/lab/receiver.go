package lab

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// receiver turns frames into calls of the observer and files.
type receiver struct {
	observer Observer
	steps    []Step
	out      string // directory for files; "" drops them
	start    time.Time
	onBoot   func() error // called when our code runs; may be nil
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
	return "in " + r.steps[r.step].Name
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
		if r.onBoot != nil {
			if err := r.onBoot(); err != nil {
				return err
			}
		}
		return json.Unmarshal(payload, &r.report.Boot)
	case FrameStart:
		n, err := strconv.Atoi(string(payload))
		if err != nil || n < 0 || n >= len(r.steps) {
			return fmt.Errorf("frame %q: there is no step %q", kind, payload)
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
