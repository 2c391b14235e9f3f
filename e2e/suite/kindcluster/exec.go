package kindcluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/klog/v2"
)

// podName is a Pod by namespace and name.
type podName struct{ namespace, name string }

func (p podName) String() string { return p.namespace + "/" + p.name }

// execFunc runs the server's program in a Pod's container, to its end or that of ctx.
type execFunc func(ctx context.Context, p podName, in io.Reader, out, errOut io.Writer, args ...string) error

// executor runs programs through the API server, which speaks WebSocket since 1.30.
func executor(config *rest.Config, client kubernetes.Interface) execFunc {
	return func(ctx context.Context, p podName, in io.Reader, out, errOut io.Writer, args ...string) error {
		url := client.CoreV1().RESTClient().Post().Resource("pods").Namespace(p.namespace).Name(p.name).SubResource("exec").
			VersionedParams(&corev1.PodExecOptions{
				Container: containerName, Command: append([]string{program}, args...),
				Stdin: in != nil, Stdout: out != nil, Stderr: errOut != nil,
			}, scheme.ParameterCodec).URL()
		e, err := remotecommand.NewWebSocketExecutor(config, "GET", url.String())
		if err == nil {
			ctx := klog.NewContext(ctx, logr.Discard()) // it logs each end of a stream as an error
			err = e.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: in, Stdout: out, Stderr: errOut})
		}
		if err != nil {
			return fmt.Errorf("exec in %s %v: %w", p, args, err)
		}
		return nil
	}
}

// output runs the program and returns what it says.
func (exec execFunc) output(ctx context.Context, p podName, args ...string) (string, error) {
	var out, errOut buffer
	if err := exec(ctx, p, nil, &out, &errOut, args...); err != nil {
		return "", fmt.Errorf("%w: %s", err, strings.TrimSpace(errOut.String()))
	}
	return out.String(), nil
}

// buffer may still be written to when its stream has ended.
type buffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// converse runs the program's asker, which ends with the connection or with life.
func (exec execFunc) converse(life context.Context, p podName) net.Conn {
	here, there := net.Pipe()
	c := &conversation{Conn: here}
	go func() {
		var errOut buffer
		err := exec(life, p, there, there, &errOut, "ask")
		if said := strings.TrimSpace(errOut.String()); said != "" {
			err = errors.Join(err, errors.New(said))
		}
		c.mu.Lock()
		c.reason = err
		c.mu.Unlock()
		_ = there.Close()
	}()
	return c
}

// conversation is a connection that knows why it ended.
type conversation struct {
	net.Conn
	mu     sync.Mutex
	reason error
}

// Read implements net.Conn.
func (c *conversation) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	return n, c.explain(err)
}

// Write implements net.Conn.
func (c *conversation) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	return n, c.explain(err)
}

func (c *conversation) explain(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil && c.reason != nil {
		return c.reason
	}
	return err
}
