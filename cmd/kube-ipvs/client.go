package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kube-ipvs/kube-ipvs/host"
)

// askTimeout bounds a question: the agent may be in the middle of a long pass.
const askTimeout = 30 * time.Second

// errNoAgent says that nobody listens on the socket.
var errNoAgent = errors.New("no agent answers in this network namespace: is one running on this node?")

// askAgent puts a question to the agent that runs on this node.
func askAgent(ctx context.Context, socket, question string, answer any) error {
	return callAgent(ctx, socket, http.MethodGet, question, nil, answer)
}

// callAgent sends the agent that runs on this node a document, if there is one, and reads the one that it answers with.
func callAgent(ctx context.Context, socket, method, path string, document, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	client := http.Client{Transport: &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return dialAgent(ctx, socket) },
		DisableKeepAlives: true,
	}}
	var body bytes.Buffer
	if document != nil {
		if err := json.NewEncoder(&body).Encode(document); err != nil {
			return err
		}
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://agent"+path, &body)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	switch {
	case errors.Is(err, errNoAgent):
		return errNoAgent
	case errors.Is(err, io.EOF), errors.Is(err, unix.ECONNRESET), errors.Is(err, unix.EPIPE):
		return errors.New("the agent hung up: it answers root alone")
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("the agent is there and has not answered in time: it may be in a long pass, so try again; its log and /livez say whether it is stuck (%w)", err)
	case err != nil:
		return fmt.Errorf("ask the agent: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(response.Body, 1<<10))
		if strings.TrimSpace(string(text)) == errUnknownService.Error() {
			return errUnknownService
		}
		return fmt.Errorf("ask the agent: %s: %s", response.Status, strings.TrimSpace(string(text)))
	}
	if err := json.NewDecoder(response.Body).Decode(answer); err != nil {
		return fmt.Errorf("ask the agent: %w", err)
	}
	return nil
}

// restartAgent ends what to do about who has the name of the agent's socket.
const restartAgent = "and restart the agent, which makes its socket when it starts"

// dialAgent connects to the agent's socket. The name of an abstract socket is anybody's who comes first, so what answers has to
// be root, or whoever asks.
func dialAgent(ctx context.Context, socket string) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, "unix", socket)
	if errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.EAGAIN) {
		return nil, nobodyAnswers(socket)
	}
	if err != nil {
		return nil, err
	}
	who, err := host.Peer(c.(*net.UnixConn))
	if err != nil || !who.Trusted() {
		_ = c.Close()
		return nil, fmt.Errorf("%s is held by %s, who is neither root nor you (%w): what it says is not the agent's. End it, "+restartAgent+"%s",
			socket, who, errors.Join(err, os.ErrPermission), find(who))
	}
	return c, nil
}

// nobodyAnswers says why: nobody has the name, or somebody has it and takes no connections.
func nobodyAnswers(socket string) error {
	who, _ := host.HolderOf(socket)
	if who.PID == 0 && who.UID < 0 {
		return errNoAgent
	}
	// Not errNoAgent, after which the kernel would be asked and an agent be missed that runs without its socket.
	return fmt.Errorf("%s has the name %s and takes no connections: if it is no agent, end it, "+restartAgent+"%s", who, socket, find(who))
}

// find says how to find who cannot be seen from here.
func find(who host.Holder) string {
	if who.PID != 0 {
		return ""
	}
	return ": find it with `ss -xap | grep kube-ipvs` on the node"
}
