package lab

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"sync"
)

// FrameKind says what the payload of a frame is.
type FrameKind byte

// The kinds of frames, all from guest to host.
const (
	FrameBoot   FrameKind = 'B' // Boot as JSON: our code runs
	FrameStart  FrameKind = 'S' // decimal index of the step that starts
	FrameStdout FrameKind = 'O' // output of the running step
	FrameStderr FrameKind = 'E'
	FrameExit   FrameKind = 'X' // Exit as JSON
	FrameFile   FrameKind = 'F' // path below OutDir of the file that follows
	FrameData   FrameKind = 'D' // the next piece of that file
	FrameFailed FrameKind = '!' // why init gave up
	FrameDone   FrameKind = 'Z' // the trailer: everything was sent
)

// maxFrame keeps frames small enough for output to appear while it is written, and a damaged length harmless.
const maxFrame = 1 << 16

const frameHeader = 5 // kind and length, big-endian

// FrameWriter writes frames, each with a single Write. It may be used by several goroutines.
type FrameWriter struct {
	mu  sync.Mutex
	w   io.Writer
	buf []byte
}

// NewFrameWriter returns a FrameWriter on w.
func NewFrameWriter(w io.Writer) *FrameWriter { return &FrameWriter{w: w} }

// Send writes the payload as one frame, or as several if it is long.
func (f *FrameWriter) Send(kind FrameKind, payload []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		n := min(len(payload), maxFrame)
		f.buf = append(f.buf[:0], byte(kind))
		f.buf = binary.BigEndian.AppendUint32(f.buf, uint32(n))
		f.buf = append(f.buf, payload[:n]...)
		if _, err := f.w.Write(f.buf); err != nil {
			return fmt.Errorf("write frame %q: %w", kind, err)
		}
		payload = payload[n:]
		if len(payload) == 0 {
			return nil
		}
	}
}

// SendJSON writes v, which must be short, as one frame.
func (f *FrameWriter) SendJSON(kind FrameKind, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode frame %q: %w", kind, err)
	}
	return f.Send(kind, b)
}

// Stream returns a writer whose writes become frames of one kind.
func (f *FrameWriter) Stream(kind FrameKind) io.Writer { return frameStream{f, kind} }

type frameStream struct {
	f    *FrameWriter
	kind FrameKind
}

func (s frameStream) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if err := s.f.Send(s.kind, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// frameReader reads what a FrameWriter wrote.
type frameReader struct {
	r   *bufio.Reader
	buf []byte
}

func newFrameReader(r io.Reader) *frameReader {
	return &frameReader{r: bufio.NewReaderSize(r, maxFrame)}
}

// next returns a frame, whose payload is valid until the next call. It returns io.EOF at the end of the stream and
// io.ErrUnexpectedEOF where a frame was cut off.
func (f *frameReader) next() (FrameKind, []byte, error) {
	var header [frameHeader]byte
	if _, err := io.ReadFull(f.r, header[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(header[1:])
	if n > maxFrame {
		return 0, nil, fmt.Errorf("frame %q of %d bytes: more than %d", header[0], n, maxFrame)
	}
	if cap(f.buf) < int(n) {
		f.buf = make([]byte, maxFrame)
	}
	f.buf = f.buf[:n]
	if _, err := io.ReadFull(f.r, f.buf); err != nil {
		return 0, nil, io.ErrUnexpectedEOF
	}
	return FrameKind(header[0]), f.buf, nil
}
