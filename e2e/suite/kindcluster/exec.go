package kindcluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
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
	var out, errOut bytes.Buffer
	if err := exec(ctx, p, nil, &out, &errOut, args...); err != nil {
		return "", fmt.Errorf("%w: %s", err, strings.TrimSpace(errOut.String()))
	}
	return out.String(), nil
}

// converse runs the program's asker, which ends with the connection or with life.
func (exec execFunc) converse(life context.Context, p podName) net.Conn {
	here, there := net.Pipe()
	c := &conversation{Conn: here}
	go func() {
		var errOut bytes.Buffer
		err := exec(life, p, there, there, &errOut, "ask")
		if said := strings.TrimSpace(errOut.String()); said != "" {
			err = errors.Join(err, errors.New(said))
		}
		c.mu.Lock()
		c.err = err
		c.mu.Unlock()
		_ = there.Close()
	}()
	return c
}

// conversation is a connection that knows why it ended.
type conversation struct {
	net.Conn
	mu  sync.Mutex
	err error
}

// Read implements net.Conn.
func (c *conversation) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil && c.err != nil {
		err = c.err
	}
	return n, err
}
