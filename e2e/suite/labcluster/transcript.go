package labcluster

import (
	"strings"
	"sync"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab"
)

// transcript is what the nodes have said: a lab.Observer.
type transcript struct {
	mu     sync.Mutex
	output strings.Builder
}

// Started implements lab.Observer.
func (*transcript) Started(int) {}

// Output implements lab.Observer.
func (t *transcript) Output(_ int, _ lab.Stream, data []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.output.Write(data)
}

// Exited implements lab.Observer.
func (t *transcript) Exited(e lab.Exit) { t.Output(e.Step, lab.Stderr, []byte(e.Error)) }

func (t *transcript) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.output.String()
}

func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
