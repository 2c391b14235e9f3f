package nodes

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
)

// What can be asked for: each a POST with a JSON value, answered by one.
const (
	pathHealth        = "/health"
	pathAsk           = "/ask"
	pathLoadStart     = "/load/start"
	pathLoadTally     = "/load/tally"
	pathLoadStop      = "/load/stop"
	pathHold          = "/hold"
	pathHoldAsk       = "/hold/ask"
	pathHoldClose     = "/hold/close"
	pathAgentStart    = "/agent/start"
	pathAgentStop     = "/agent/stop"
	pathAgentKill     = "/agent/kill"
	pathAgentLog      = "/agent/log"
	pathAgentMetrics  = "/agent/metrics"
	pathProxyStart    = "/proxy/start"
	pathProxyStop     = "/proxy/stop"
	pathAddressAdd    = "/address/add"
	pathAddressRemove = "/address/remove"
	pathRun           = "/run"
	pathGet           = "/get"
	pathMeasure       = "/measure"
)

// handler returns what the host drives the nodes by. It has no authentication: it is for a guest, whose only neighbour
// is the host's loopback.
func (n *Nodes) handler() http.Handler {
	mux := http.NewServeMux()
	n.traffic.answer(mux)
	on(mux, pathAgentStart, only(n.agents.start))
	on(mux, pathAgentStop, only(n.agents.stop))
	on(mux, pathAgentKill, only(n.agents.kill))
	on(mux, pathAgentLog, n.agents.log)
	on(mux, pathAgentMetrics, n.agents.metrics)
	on(mux, pathProxyStart, only(n.proxies.start))
	on(mux, pathProxyStop, only(n.proxies.stop))
	on(mux, pathAddressAdd, only(n.addAddress))
	on(mux, pathAddressRemove, only(n.removeAddress))
	on(mux, pathRun, n.run)
	on(mux, pathMeasure, n.measure)
	return mux
}

// answer serves what is about traffic alone.
func (t *traffic) answer(mux *http.ServeMux) {
	on(mux, pathHealth, func(context.Context, struct{}) (struct{}, error) { return struct{}{}, nil })
	on(mux, pathAsk, t.ask)
	on(mux, pathLoadStart, t.startLoad)
	on(mux, pathLoadTally, t.loadTally)
	on(mux, pathLoadStop, t.stopLoad)
	on(mux, pathHold, t.hold)
	on(mux, pathHoldAsk, t.askOn)
	on(mux, pathHoldClose, only(t.release))
	on(mux, pathGet, t.get)
}

// on answers a path.
func on[In, Out any](mux *http.ServeMux, path string, f func(context.Context, In) (Out, error)) {
	mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
		var in In
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			http.Error(w, fmt.Sprintf("read request: %v", err), http.StatusBadRequest)
			return
		}
		out, err := f(r.Context(), in)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_ = json.NewEncoder(w).Encode(out) // a client that is gone needs no answer
	})
}

// only is for what has nothing to say but that it is done.
func only[In any](f func(context.Context, In) error) func(context.Context, In) (struct{}, error) {
	return func(ctx context.Context, in In) (struct{}, error) { return struct{}{}, f(ctx, in) }
}
