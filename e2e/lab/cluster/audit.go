package cluster

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
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

// Denials returns every request that was refused so far, in order. One may be written down a little after its client
// has its answer.
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
		}
		line := lines.Bytes()
		line = line[max(0, bytes.LastIndex(line, eventStart)):] // before it: half of one, whose API server was killed
		if err := json.Unmarshal(line, &e); err != nil {
			continue // it is being written
		}
		if e.Annotations["authorization.k8s.io/decision"] == "forbid" {
			denials = append(denials, Denial{User: e.User.Username, Verb: e.Verb, URI: e.RequestURI})
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read audit log: %w", err)
	}
	return denials, nil
}
