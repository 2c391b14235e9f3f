package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab"
)

// How long the API server may take until it is ready, and to end by itself. Measured on two cores: 4 to 6 s, and 1 s.
const (
	readyPatience = 2 * time.Minute
	stopPatience  = 15 * time.Second
)

// statePrefix begins the names of state directories.
const statePrefix = "kube-ipvs-controlplane-"

// ControlPlane is a running control plane. Its methods may be called by several goroutines.
type ControlPlane struct {
	files   files
	state   *lab.TempDir
	apiPort *port
	ports   []*port
	admin   *rest.Config

	etcd, api, controllers *component // controllers may be nil

	starts starts // of the API server, but the first one

	closing sync.Once
	closed  error
}

// Start starts a control plane and returns when it is ready. The end of ctx closes it.
func Start(ctx context.Context, o Options) (*ControlPlane, error) {
	if err := o.setDefaults(); err != nil {
		return nil, fmt.Errorf("start control plane: %w", err)
	}
	c := &ControlPlane{}
	err := c.start(ctx, &o)
	if err != nil {
		return nil, fmt.Errorf("start control plane: %w", errors.Join(err, c.Close()))
	}
	context.AfterFunc(ctx, func() { _ = c.Close() })
	return c, nil
}

func (c *ControlPlane) start(ctx context.Context, o *Options) (err error) {
	if c.state, err = lab.NewTempDir("", statePrefix); err != nil {
		return err
	}
	c.files = newFiles(c.state.Path)
	for range 3 {
		p, err := reservePort()
		if err != nil {
			return err
		}
		c.ports = append(c.ports, p)
	}
	c.apiPort = c.ports[0]
	if c.admin, err = c.files.write(o, c.hostFor(c.apiPort.addr().Addr().String())); err != nil {
		return err
	}
	c.etcd = newComponent(o.Binaries, c.files.dir, etcd, o.etcdArgs(c.files, c.ports[1], c.ports[2])...)
	c.api = newComponent(o.Binaries, c.files.dir, apiServer, o.apiServerArgs(c.files, c.apiPort, c.ports[1])...)
	if len(o.Controllers) > 0 {
		c.controllers = newComponent(o.Binaries, c.files.dir, controllerManager, o.controllerManagerArgs(c.files)...)
	}
	return c.startAll(ctx)
}

// startAll starts the components, none of which runs, and returns when the API server is ready.
func (c *ControlPlane) startAll(ctx context.Context) error {
	if err := c.etcd.start(); err != nil {
		return err
	}
	if err := c.StartAPIServer(ctx); err != nil {
		return err
	}
	if c.controllers == nil {
		return nil
	}
	return c.controllers.start()
}

// StartAPIServer starts the API server on the port and with the data that it had, and returns when it is ready.
func (c *ControlPlane) StartAPIServer(ctx context.Context) error {
	begin := time.Now()
	defer func() { c.starts.add(begin, time.Now()) }()
	if err := c.api.start(); err != nil {
		return err
	}
	return c.awaitReady(ctx)
}

func (c *ControlPlane) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyPatience)
	defer cancel()
	config := c.Admin()
	config.Timeout = 5 * time.Second
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("wait for the API server: %w", err)
	}
	for {
		_, err := client.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
		if err == nil {
			return nil
		}
		if err := errors.Join(c.etcd.alive(), c.api.alive()); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the API server: %w (%w)\n%s", context.Cause(ctx), err, c.LogTail(20))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// StopAPIServer ends the API server as a node that is shut down does. Its port refuses connections from then on.
func (c *ControlPlane) StopAPIServer() { c.api.stop(stopPatience) }

// KillAPIServer ends the API server as a crash does.
func (c *ControlPlane) KillAPIServer() { c.api.stop(0) }

// PauseAPIServer stops the API server in its tracks: connections stay, new ones are accepted by the kernel, and nobody
// answers, as behind a network that drops everything.
func (c *ControlPlane) PauseAPIServer() error { return c.api.signal(syscall.SIGSTOP) }

// ResumeAPIServer lets a paused API server go on.
func (c *ControlPlane) ResumeAPIServer() error { return c.api.signal(syscall.SIGCONT) }

// LogTail returns the last lines of each component's log, for a test that failed.
func (c *ControlPlane) LogTail(lines int) string {
	var b strings.Builder
	for _, p := range c.components() {
		fmt.Fprintln(&b, p.tail(lines))
	}
	return b.String()
}

func (c *ControlPlane) components() []*component {
	var all []*component
	for _, p := range []*component{c.controllers, c.api, c.etcd} {
		if p != nil {
			all = append(all, p)
		}
	}
	return all
}

// Close ends every process and removes every file. Nothing of it has to survive, so nothing is asked to end.
func (c *ControlPlane) Close() error {
	c.closing.Do(func() {
		for _, p := range c.components() {
			p.close()
		}
		for _, p := range c.ports {
			p.release()
		}
		if c.state != nil {
			c.closed = c.state.Remove()
		}
	})
	return c.closed
}
