package nodes

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// Remote drives a [Server] from the host. A context without a deadline waits for an answer as long as it takes.
type Remote struct {
	url    string
	client http.Client
}

// Dial returns a client of the server behind a forwarded port, once it answers.
func Dial(ctx context.Context, at netip.AddrPort) (*Remote, error) {
	r := &Remote{url: "http://" + at.String()}
	for {
		_, err := call[struct{}](ctx, r, pathHealth, struct{}{})
		if err == nil {
			return r, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for the nodes: %w (%w)", context.Cause(ctx), err)
		case <-time.After(50 * time.Millisecond): // QEMU accepts and closes while nobody listens
		}
	}
}

func call[Out, In any](ctx context.Context, r *Remote, path string, in In) (out Out, err error) {
	body, err := json.Marshal(in)
	if err != nil {
		return out, fmt.Errorf("ask nodes %s: %w", path, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url+path, bytes.NewReader(body))
	if err != nil {
		return out, fmt.Errorf("ask nodes %s: %w", path, err)
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return out, fmt.Errorf("ask nodes %s: %w", path, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s", strings.TrimSpace(string(answer)))
	}
	if err == nil {
		err = json.Unmarshal(answer, &out)
	}
	if err != nil {
		return out, fmt.Errorf("nodes %s: %w", path, err)
	}
	return out, nil
}

func (r *Remote) do(ctx context.Context, path string, in any) error {
	_, err := call[struct{}](ctx, r, path, in)
	return err
}

// Ask asks and returns who answered.
func (r *Remote) Ask(ctx context.Context, q Question) (Tally, error) {
	return call[Tally](ctx, r, pathAsk, q)
}

// StartLoad starts to ask and returns the load's number.
func (r *Remote) StartLoad(ctx context.Context, l Load) (int, error) {
	return call[int](ctx, r, pathLoadStart, l)
}

// LoadTally returns the counts of a load so far.
func (r *Remote) LoadTally(ctx context.Context, load int) (Tally, error) {
	return call[Tally](ctx, r, pathLoadTally, load)
}

// StopLoad lets the answers under way come in and returns the counts.
func (r *Remote) StopLoad(ctx context.Context, load int) (Tally, error) {
	return call[Tally](ctx, r, pathLoadStop, load)
}

// Hold opens a connection, or for UDP takes a source port, that is kept, and returns its number.
func (r *Remote) Hold(ctx context.Context, q Question) (int, error) {
	return call[int](ctx, r, pathHold, q)
}

// AskOn asks once on a connection that is held.
func (r *Remote) AskOn(ctx context.Context, connection int) (Tally, error) {
	return call[Tally](ctx, r, pathHoldAsk, connection)
}

// Release closes a connection that is held.
func (r *Remote) Release(ctx context.Context, connection int) error {
	return r.do(ctx, pathHoldClose, connection)
}

// StartAgent starts the agent of a node and returns when it is ready.
func (r *Remote) StartAgent(ctx context.Context, o AgentOptions) error {
	return r.do(ctx, pathAgentStart, o)
}

// StopAgent ends the agent of a node as its kubelet would.
func (r *Remote) StopAgent(ctx context.Context, node string) error {
	return r.do(ctx, pathAgentStop, node)
}

// KillAgent ends the agent of a node with SIGKILL.
func (r *Remote) KillAgent(ctx context.Context, node string) error {
	return r.do(ctx, pathAgentKill, node)
}

// AgentLog returns what the agent of a node has written since its start, also where it has ended.
func (r *Remote) AgentLog(ctx context.Context, node string) (string, error) {
	return call[string](ctx, r, pathAgentLog, node)
}

// AgentMetrics returns the agent's metrics, as agent.Agent.Metrics does.
func (r *Remote) AgentMetrics(ctx context.Context, node string) (map[string]float64, error) {
	return call[map[string]float64](ctx, r, pathAgentMetrics, node)
}

// StartProxy starts kube-proxy on a node, with these flags besides those that it cannot do without.
func (r *Remote) StartProxy(ctx context.Context, o AgentOptions) error {
	return r.do(ctx, pathProxyStart, o)
}

// StopProxy ends kube-proxy on a node. Its rules stay.
func (r *Remote) StopProxy(ctx context.Context, node string) error {
	return r.do(ctx, pathProxyStop, node)
}

// AddAddress gives a node an address.
func (r *Remote) AddAddress(ctx context.Context, a Address) error {
	return r.do(ctx, pathAddressAdd, a)
}

// RemoveAddress takes an address from a node.
func (r *Remote) RemoveAddress(ctx context.Context, a Address) error {
	return r.do(ctx, pathAddressRemove, a)
}

// Run runs a command. A program that fails is no error.
func (r *Remote) Run(ctx context.Context, c Command) (Result, error) {
	return call[Result](ctx, r, pathRun, c)
}

// Get sends a GET request. Any status is an answer.
func (r *Remote) Get(ctx context.Context, g Get) (Response, error) {
	return call[Response](ctx, r, pathGet, g)
}

// Measure changes EndpointSlices and returns how long each change took to reach the kernel.
func (r *Remote) Measure(ctx context.Context, c Changes) ([]time.Duration, error) {
	return call[[]time.Duration](ctx, r, pathMeasure, c)
}
