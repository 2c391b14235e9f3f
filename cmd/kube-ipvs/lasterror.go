package main

import (
	"fmt"
	stdsync "sync"

	"github.com/go-logr/logr"
)

// lastError is a log that keeps the last error: check has no log, and a source that tries again forever says in its own
// why nothing comes.
type lastError struct {
	mu  stdsync.Mutex
	err error
}

var _ logr.LogSink = (*lastError)(nil)

// Init is that of logr.LogSink.
func (*lastError) Init(logr.RuntimeInfo) {}

// Enabled is that of logr.LogSink.
func (*lastError) Enabled(int) bool { return false }

// Info is that of logr.LogSink.
func (*lastError) Info(int, string, ...any) {}

// Error is that of logr.LogSink.
func (l *lastError) Error(err error, msg string, _ ...any) {
	if err == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = fmt.Errorf("%s: %w", msg, err)
}

// WithValues is that of logr.LogSink.
func (l *lastError) WithValues(...any) logr.LogSink { return l }

// WithName is that of logr.LogSink.
func (l *lastError) WithName(string) logr.LogSink { return l }

func (l *lastError) get() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}
