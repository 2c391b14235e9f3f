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
	case errors.Is(err, unix.ECONNREFUSED):
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

// dialAgent connects to the agent's socket. The name of an abstract socket is anybody's who comes first, so what answers has to
// be root, or whoever asks.
func dialAgent(ctx context.Context, socket string) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, err
	}
	if uid, err := peer(c); err != nil || !trusted(uid) {
		_ = c.Close()
		return nil, fmt.Errorf("%s is held by user %d, who is neither root nor you (%w): find out what program that is (ss -xlp)", socket, uid, errors.Join(err, os.ErrPermission))
	}
	return c, nil
}

// trusted are root and the user of this process.
func trusted(uid uint32) bool { return uid == 0 || int(uid) == os.Geteuid() }
