// Package gauge stands between a program and the API server: it is where both are seen with one clock. It speaks plain HTTP/1.1 to the
// program and is an administrator to the API server.
package gauge

import (
	"net"
	"time"

	"k8s.io/client-go/rest"
)

// Gauge passes requests on.
type Gauge struct{}

// New is a gauge before the API server of config, which shows of Services and EndpointSlices those alone that match selector
// (added to whatever selector a request has); "" is all.
func New(config *rest.Config, selector string) (*Gauge, error) { panic("to be written") }

// Serve answers on l until Close.
func (g *Gauge) Serve(l net.Listener) error { panic("to be written") }

// Await returns when bytes that contain marker begin to be passed to the program, as part of a watch (or a streamed list): the channel gets the
// time right before the write. It is to be asked for before the change is made. One marker is waited for once.
func (g *Gauge) Await(marker string) <-chan time.Time { panic("to be written") }

// Kubeconfig is one that leads to a gauge at this address: plain HTTP, no credentials.
func Kubeconfig(at net.Addr) []byte { panic("to be written") }

// Traffic is what has passed since the start.
type Traffic struct {
	Requests map[string]int // by verb and resource: "LIST services"
	Bytes    uint64         // to the program
}

// Traffic returns what has passed.
func (g *Gauge) Traffic() Traffic { panic("to be written") }

// Close ends all connections.
func (g *Gauge) Close() error { panic("to be written") }
