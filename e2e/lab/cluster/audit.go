package cluster

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"
)

// auditPolicy has the API server write down what everybody but administrators and itself asked for.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
rules:
- {level: None, userGroups: ["system:masters"]}
- {level: Metadata}
`

// Denial is a request that authorization refused.
type Denial struct {
	User, Verb, URI string
}

func (d Denial) String() string { return d.User + " may not " + d.Verb + " " + d.URI }

// starts are the times in which an API server was not ready yet. It knows no roles then, and refuses what they allow: clients that
// waited for it come before it has read them.
type starts struct {
	mu    sync.Mutex
	spans [][2]time.Time
}

func (s *starts) add(from, to time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spans = append(s.spans, [2]time.Time{from, to})
}

func (s *starts) has(at time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.spans, func(span [2]time.Time) bool { return !at.Before(span[0]) && at.Before(span[1]) })
}

// Denials returns every request that was refused so far, in order, but by an API server that was starting again. One may be
// written down a little after its client has its answer.
func (c *ControlPlane) Denials() ([]Denial, error) {
	f, err := os.Open(c.files.audit)
	if err != nil {
		return nil, fmt.Errorf("read audit log: %w", err)
	}
	defer f.Close()
	eventStart := []byte(`{"kind":"Event",`)
	var denials []Denial
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e struct {
			Verb, RequestURI string
			User             struct{ Username string }
			Annotations      map[string]string
			Received         time.Time `json:"requestReceivedTimestamp"`
		}
		line := lines.Bytes()
		line = line[max(0, bytes.LastIndex(line, eventStart)):] // before it: half of one, whose API server was killed
		if err := json.Unmarshal(line, &e); err != nil {
			continue // it is being written
		}
		if e.Annotations["authorization.k8s.io/decision"] == "forbid" && !c.starts.has(e.Received) {
			denials = append(denials, Denial{User: e.User.Username, Verb: e.Verb, URI: e.RequestURI})
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read audit log: %w", err)
	}
	return denials, nil
}
