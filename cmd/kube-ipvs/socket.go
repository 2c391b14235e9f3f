package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/kube-ipvs/kube-ipvs/host"
	"github.com/kube-ipvs/kube-ipvs/sync"
)

// socketName is that of the abstract socket on which the agent answers the other commands.
const socketName = "@kube-ipvs/agent"

// maxSuggestions bounds one answer.
const maxSuggestions = 65535

// errBadQuestion is that of a question that nobody could answer.
var errBadQuestion = errors.New("bad question")

// socketHandler answers questions about the state of an agent, as JSON. Nothing of what is served can be changed by it.
func socketHandler(i *inspector) *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ports", answered(func(request *http.Request) (any, error) {
		suggest, _ := strconv.Atoi(request.FormValue("suggest"))
		return i.ports(request.Context(), min(max(suggest, 0), maxSuggestions))
	}))
	mux.HandleFunc("GET /status", answered(func(request *http.Request) (any, error) { return i.status(request.Context()) }))
	mux.HandleFunc("GET /diff", answered(func(request *http.Request) (any, error) { return i.diff(request.Context()) }))
	mux.HandleFunc("GET /traffic", answered(func(request *http.Request) (any, error) {
		var of sync.ServiceID
		if text := request.FormValue("endpoints"); text != "" {
			var err error
			if of, err = parseService(text); err != nil {
				return nil, fmt.Errorf("%w: %w", errBadQuestion, err)
			}
		}
		return i.traffic(request.Context(), of)
	}))
	mux.HandleFunc("GET /explain/service/{namespace}/{name}", answered(func(request *http.Request) (any, error) {
		return i.explain(request.Context(), sync.ServiceID{Namespace: request.PathValue("namespace"), Name: request.PathValue("name")})
	}))
	mux.HandleFunc("GET /explain/address", answered(func(request *http.Request) (any, error) {
		at, protocols, err := parseAddressPort(request.FormValue("address"))
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errBadQuestion, err)
		}
		return i.explainAddress(request.Context(), at, protocols)
	}))
	mux.HandleFunc("GET /services", answered(func(request *http.Request) (any, error) {
		names := []string{}
		o, err := i.see(request.Context())
		if err != nil {
			return nil, err
		}
		for _, id := range o.ServiceIDs() {
			names = append(names, id.String())
		}
		return names, nil
	}))
	return mux
}

// answered writes what a question is answered with.
func answered(question func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, request *http.Request) {
		answer, err := question(request)
		switch {
		case errors.Is(err, errUnknownService):
			http.Error(w, err.Error(), http.StatusNotFound)
		case errors.Is(err, errBadQuestion):
			http.Error(w, err.Error(), http.StatusBadRequest)
		case err != nil:
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		default:
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(answer) // the client is gone: nobody is left to tell
		}
	}
}

// listenLocally binds a socket, for root and the agent's own user alone. An abstract one needs no directory that can be
// written, which the agent's container has not, belongs to the network namespace, as the IPVS table does, and goes with
// its process. It has no mode, so each caller is asked who he is.
func listenLocally(ctx context.Context, name string, handler http.Handler) (*listener, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "unix", name)
	if errors.Is(err, unix.EADDRINUSE) {
		holder, _ := host.HolderOf(name)
		return nil, fmt.Errorf("socket %s: %w: %s has the name", name, unix.EADDRINUSE, holder)
	}
	if err != nil {
		return nil, fmt.Errorf("socket %s: %w", name, err)
	}
	return &listener{Listener: privileged{l}, handler: handler, limits: defaultServeLimits()}, nil
}

// privileged hangs up on everybody but root and the user of this process.
type privileged struct{ net.Listener }

// Accept is that of net.Listener.
func (l privileged) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if who, err := host.Peer(c.(*net.UnixConn)); err == nil && who.Trusted() {
			return c, nil
		}
		_ = c.Close()
	}
}
