package suite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"testing"

	"sigs.k8s.io/e2e-framework/klient"
	"sigs.k8s.io/e2e-framework/pkg/env"
	"sigs.k8s.io/e2e-framework/pkg/envconf"
)

// Suite is an environment of cases, with the one cluster that all of them share.
type Suite struct {
	env.Environment

	mu       sync.Mutex // held by who closes
	provider Provider
	watch    func() bool // ends the watch for an interruption
}

// New returns a suite for flags as the command line has them.
func New() (*Suite, error) {
	config, err := envconf.NewFromFlags()
	if err != nil {
		return nil, fmt.Errorf("read flags: %w", err)
	}
	return &Suite{Environment: env.NewWithConfig(config)}, nil
}

// Main starts the cluster, runs the cases and ends the cluster, also where it is interrupted. It returns the exit code.
func (s *Suite) Main(m *testing.M, start func(ctx context.Context) (Provider, error)) int {
	// The signal that interrupts us often ends go test first, which reads what we say: a word more would end us with the
	// cluster's files still there.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	s.Setup(func(fctx context.Context, config *envconf.Config) (context.Context, error) {
		p, err := start(ctx)
		if err != nil {
			return fctx, err
		}
		s.provider = p
		s.watch = context.AfterFunc(ctx, s.interrupted)
		client, err := klient.New(p.Config())
		if err != nil {
			return fctx, errors.Join(err, s.close())
		}
		config.WithClient(client)
		return fctx, nil
	})
	code := s.Run(m)
	if err := s.end(); err != nil { // not in Finish: what that returns is logged at best, and the run passes
		fmt.Fprintln(os.Stderr, "suite:", err)
		code = max(code, 1)
	}
	return code
}

// end judges the cluster and ends it.
func (s *Suite) end() error {
	if s.provider == nil {
		return nil // it did not start
	}
	s.watch()
	return errors.Join(s.provider.Verdict(), s.close())
}

// interrupted ends the process: cases have nothing left to talk to.
func (s *Suite) interrupted() {
	fmt.Fprintln(os.Stderr, "suite: interrupted")
	_ = s.close()
	os.Exit(1)
}

func (s *Suite) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.provider.Close(); err != nil {
		return fmt.Errorf("end cluster: %w", err)
	}
	return nil
}
