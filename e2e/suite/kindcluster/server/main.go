// Command server is what runs in the Pods of the suite on a kind cluster, in an image of nothing else:
//
//	server serve [-ports 8080]   answers over HTTP, TCP and UDP with the Pod's name and the client; POD_NAME and POD_IPS say which
//	server ready [true|false]    without a value, the readiness probe; with one, what the probe says from now on
//	server idle                  waits: a place to ask from
//	server ask                   asks what it is told on its input, and says what it heard on its output
//	server table                 the IPVS table of its network namespace
//
// Serving and ready share files in the working directory, which is the container's own.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/nodes"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "server:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	if len(args) == 0 {
		return errors.New("serve, ready, idle, ask or table?")
	}
	switch command, args := args[0], args[1:]; command {
	case "serve":
		return serve(ctx, args)
	case "ready":
		return ready(args)
	case "idle":
		<-ctx.Done()
		return nil
	case "ask":
		return ask(ctx, in, out)
	case "table":
		return table(out)
	default:
		return fmt.Errorf("there is no %s", command)
	}
}

// ask serves one conversation, until the end of its input.
func ask(ctx context.Context, in io.Reader, out io.Writer) error {
	// What a process is given for its input and output may know no deadlines; a pipe of Go's does.
	here, there := net.Pipe()
	defer there.Close()
	defer context.AfterFunc(ctx, func() { _ = there.Close() })()
	go func() {
		_, _ = io.Copy(there, in)
		_ = there.Close()
	}()
	said := make(chan error, 1)
	go func() {
		_, err := io.Copy(out, there)
		if errors.Is(err, io.ErrClosedPipe) {
			err = nil // the end of the input
		}
		said <- err
		_ = there.Close()
	}()
	if err := nodes.NewAsker(ctx).ServeConn(here); err != nil {
		return err
	}
	return <-said
}

func table(out io.Writer) error {
	t, err := os.ReadFile("/proc/net/ip_vs")
	if errors.Is(err, fs.ErrNotExist) {
		return errors.New("the kernel has no IPVS here, or none yet")
	}
	if err == nil {
		_, err = out.Write(t)
	}
	return err
}
