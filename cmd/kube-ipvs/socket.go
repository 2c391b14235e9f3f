package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kube-ipvs/kube-ipvs/sync"
)

// socketName is that of the socket in the state directory on which the agent answers the other commands.
const socketName = "agent.sock"

// maxSuggestions bounds one answer.
const maxSuggestions = 65535

// socketHandler answers questions about the state of a reconciler, as JSON. Nothing can be changed by it.
func socketHandler(node string, ask func(context.Context, func(*sync.State)) error) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ports", func(w http.ResponseWriter, request *http.Request) {
		suggest, _ := strconv.Atoi(request.FormValue("suggest"))
		var answer portsJSON
		err := ask(request.Context(), func(s *sync.State) {
			answer = portsToJSON(node, s.ViewPorts(), min(max(suggest, 0), maxSuggestions))
		})
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(answer) // the client is gone: nobody is left to tell
	})
	return mux
}

// listenLocally binds the agent's socket, for root alone. The caller holds the node's lock, so a socket that is there
// belongs to an agent that has ended.
func listenLocally(ctx context.Context, stateDir string, handler http.Handler) (*listener, error) {
	path := filepath.Join(stateDir, socketName)
	if err := os.MkdirAll(stateDir, 0o700); err != nil {
		return nil, fmt.Errorf("--state-dir: %w", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("--state-dir: %w", err)
	}
	l, err := new(net.ListenConfig).Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("--state-dir: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("--state-dir: %w", err)
	}
	return &listener{Listener: l, handler: handler}, nil
}

// askTimeout bounds a question: the agent may be in the middle of a long pass.
const askTimeout = 30 * time.Second

// askAgent puts a question to the agent that runs on this node.
func askAgent(ctx context.Context, stateDir, question string, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	path := filepath.Join(stateDir, socketName)
	client := http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		},
		DisableKeepAlives: true,
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://agent"+question, http.NoBody)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ECONNREFUSED):
		return fmt.Errorf("no agent answers at %s: is one running on this node, with this --state-dir? --kubeconfig and --manifests do without one", path)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("the agent answers root alone: %w", err)
	case err != nil:
		return fmt.Errorf("ask the agent: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(response.Body, 1<<10))
		return fmt.Errorf("ask the agent: %s: %s", response.Status, strings.TrimSpace(string(text)))
	}
	if err := json.NewDecoder(response.Body).Decode(answer); err != nil {
		return fmt.Errorf("ask the agent: %w", err)
	}
	return nil
}
