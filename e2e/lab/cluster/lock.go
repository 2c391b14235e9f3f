package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// unfinished is how the names of directories begin that belong to a build under way.
const unfinished = "unfinished-"

// lock waits for its turn, and removes what builds that were killed have left.
func (b *Builder) lock(ctx context.Context) (unlock func(), err error) {
	if err := os.MkdirAll(b.Cache, 0o755); err != nil {
		return nil, fmt.Errorf("make cache directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(b.Cache, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", b.Cache, err)
	}
	for told := false; ; told = true {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			break
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", b.Cache, err)
		}
		if !told {
			fmt.Fprintln(b.Progress, "lab: waiting for another process that builds the control plane")
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("wait for the lock on %s: %w", b.Cache, context.Cause(ctx))
		case <-time.After(100 * time.Millisecond):
		}
	}
	left, err := filepath.Glob(filepath.Join(b.Cache, unfinished+"*"))
	for _, dir := range left {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("clean %s: %w", b.Cache, err)
	}
	return func() { f.Close() }, nil
}
