package cluster

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// progressEvery is how often a build that takes long says how far it is.
const progressEvery = 30 * time.Second

// progress reads what `go build -v` says and reports how far it is.
type progress struct {
	out   io.Writer
	step  string
	start time.Time
	done  chan struct{}
	ended sync.WaitGroup

	mu       sync.Mutex
	rest     []byte // a line that has not ended
	compiled int
	others   []string // lines that are no names of packages
}

func startProgress(out io.Writer, step string) *progress {
	p := &progress{out: out, step: step, start: time.Now(), done: make(chan struct{})}
	fmt.Fprintf(out, "lab: building %s\n", step)
	p.ended.Go(p.report)
	return p
}

func (p *progress) report() {
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for {
		select {
		case <-p.done:
			return
		case <-tick.C:
			p.mu.Lock()
			n := p.compiled
			p.mu.Unlock()
			fmt.Fprintf(p.out, "lab: building %s: %d packages compiled in %v\n", p.step, n, p.elapsed().Round(time.Second))
		}
	}
}

// stop ends the reports; nothing is written after it.
func (p *progress) stop() {
	close(p.done)
	p.ended.Wait()
}

func (p *progress) elapsed() time.Duration { return time.Since(p.start) }

// Write implements io.Writer.
func (p *progress) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rest = append(p.rest, b...)
	for {
		line, rest, ok := bytes.Cut(p.rest, []byte("\n"))
		if !ok {
			return len(b), nil
		}
		p.line(string(line))
		p.rest = rest
	}
}

func (p *progress) line(s string) {
	switch {
	case strings.HasPrefix(s, "go: downloading "):
	case strings.ContainsAny(s, " \t:"):
		p.others = append(p.others, s)
	default:
		p.compiled++
	}
}

// complaints returns what was said beside the names of packages.
func (p *progress) complaints() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.others, "\n")
}
