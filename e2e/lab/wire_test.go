package lab

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// script writes what a guest would send.
func script(t *testing.T, send func(f *FrameWriter)) *bytes.Buffer {
	t.Helper()
	var buf bytes.Buffer
	send(NewFrameWriter(&buf))
	return &buf
}

// recorder is an Observer that writes down what it is told.
type recorder struct{ said []string }

func (r *recorder) Started(i int) { r.said = append(r.said, fmt.Sprintf("start %d", i)) }
func (r *recorder) Exited(e Exit) {
	r.said = append(r.said, fmt.Sprintf("exit %d code %d", e.Step, e.Code))
}

func (r *recorder) Output(i int, s Stream, data []byte) {
	r.said = append(r.said, fmt.Sprintf("output %d.%d %s", i, s, data))
}

func TestAJobIsObservedAndItsFilesArrive(t *testing.T) {
	big := bytes.Repeat([]byte("0123456789"), 20_000) // several frames
	buf := script(t, func(f *FrameWriter) {
		_ = f.SendJSON(FrameBoot, Boot{Kernel: "6.1", Uptime: time.Second})
		_ = f.Send(FrameStart, []byte("0"))
		_, _ = io.WriteString(f.Stream(FrameStdout), "out")
		_, _ = io.WriteString(f.Stream(FrameStderr), "err")
		_ = f.SendJSON(FrameExit, Exit{Step: 0, Code: 3})
		_ = f.Send(FrameFile, []byte("cpu/a.prof"))
		_, _ = f.Stream(FrameData).Write(big)
		_ = f.Send(FrameFile, []byte("empty"))
		_ = f.Send(FrameDone, nil)
	})
	out := t.TempDir()
	o := &recorder{}
	r := &receiver{observer: o, steps: make([]Step, 1), out: out, start: time.Now(), step: -1}
	if err := r.receive(newFrameReader(buf)); err != nil {
		t.Fatal(err)
	}
	want := []string{"start 0", "output 0.0 out", "output 0.1 err", "exit 0 code 3"}
	if d := cmp.Diff(want, o.said); d != "" {
		t.Errorf("observed (-want +got):\n%s", d)
	}
	if got := (Boot{Kernel: "6.1", Uptime: time.Second}); r.report.Boot != got {
		t.Errorf("boot %v, want %v", r.report.Boot, got)
	}
	if b, err := os.ReadFile(filepath.Join(out, "cpu", "a.prof")); err != nil || !bytes.Equal(b, big) {
		t.Errorf("file: %d bytes, %v; want %d", len(b), err, len(big))
	}
	if b, err := os.ReadFile(filepath.Join(out, "empty")); err != nil || len(b) != 0 {
		t.Errorf("empty file: %d bytes, %v", len(b), err)
	}
}

func TestAStreamWithoutTrailerIsAnError(t *testing.T) {
	whole := script(t, func(f *FrameWriter) {
		_ = f.Send(FrameStart, []byte("0"))
		_ = f.SendJSON(FrameExit, Exit{})
	}).Bytes()
	for cut := range len(whole) {
		r := &receiver{observer: &recorder{}, steps: make([]Step, 1), step: -1}
		err := r.receive(newFrameReader(bytes.NewReader(whole[:cut])))
		if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("after %d bytes: error %v, want an end of file", cut, err)
		}
	}
}

func TestAStreamThatMakesNoSenseIsAnError(t *testing.T) {
	for name, c := range map[string]struct {
		send func(*FrameWriter)
		want string
	}{
		"a file outside of the directory": {func(f *FrameWriter) { _ = f.Send(FrameFile, []byte("../x")) }, "outside"},
		"an absolute file":                {func(f *FrameWriter) { _ = f.Send(FrameFile, []byte("/etc/x")) }, "outside"},
		"a step that was not asked for":   {func(f *FrameWriter) { _ = f.Send(FrameStart, []byte("1")) }, "no step"},
		"a frame of no known kind":        {func(f *FrameWriter) { _ = f.Send('?', nil) }, "unknown frame"},
		"an init that gave up":            {func(f *FrameWriter) { _ = f.Send(FrameFailed, []byte("no job")) }, "init: no job"},
	} {
		t.Run(name, func(t *testing.T) {
			buf := script(t, c.send)
			_ = NewFrameWriter(buf).Send(FrameDone, nil)
			r := &receiver{observer: &recorder{}, steps: make([]Step, 1), out: t.TempDir(), step: -1}
			if err := r.receive(newFrameReader(buf)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
	t.Run("a frame longer than any", func(t *testing.T) {
		_, _, err := newFrameReader(strings.NewReader("O\xff\xff\xff\xff")).next()
		if err == nil {
			t.Error("accepted")
		}
	})
}
