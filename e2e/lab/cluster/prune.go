package cluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// keepUnused is how long the cache keeps what no build has asked for. Each version, and each toolchain, takes about 400 MB.
const keepUnused = 30 * 24 * time.Hour

// use notes that a directory of the cache was asked for: its time of modification is that of its last use.
func use(dir string) {
	now := time.Now()
	_ = os.Chtimes(dir, now, now) // one that does not exist yet is new then, and nobody prunes a cache that cannot be written
}

// prune removes the programs and modules that nobody has used for long. Whoever calls it has the lock; those who only look
// have none, and what they find they have used just then.
func (b *Builder) prune(now time.Time) error {
	var errs []error
	for _, pattern := range []string{"v1.*-*", modulePrefix + "*"} {
		dirs, err := filepath.Glob(filepath.Join(b.Cache, pattern))
		errs = append(errs, err)
		for _, dir := range dirs {
			info, err := os.Stat(dir)
			if err == nil && now.Sub(info.ModTime()) > keepUnused {
				fmt.Fprintf(b.Progress, "lab: removing %s, unused since %s\n", dir, info.ModTime().Format(time.DateOnly))
				err = os.RemoveAll(dir)
			}
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("prune %s: %w", b.Cache, err)
	}
	return nil
}
