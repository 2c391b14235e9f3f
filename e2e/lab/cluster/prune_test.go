package cluster

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestABuildRemovesWhatNobodyHasUsedForLongAndNothingElse(t *testing.T) {
	fakeGo(t)
	b := &Builder{Cache: t.TempDir(), Progress: io.Discard}
	built, err := b.Build(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	long, short := time.Now().Add(-keepUnused-time.Hour), time.Now().Add(-keepUnused+time.Hour)
	for name, at := range map[string]time.Time{
		"v1.36.3-0123456789ab": long, modulePrefix + "v1.36.3-0123": long,
		"v1.37.0-0123456789ab": short, "of somebody else": long, filepath.Base(built.Dir): long,
	} {
		dir := filepath.Join(b.Cache, name)
		err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, "kept"), nil, 0o600), os.Chtimes(dir, at, at))
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.Build(t.Context()); err != nil { // nothing to build, and a use
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(b.Cache, "v1.36.3-0123456789ab")); err != nil {
		t.Errorf("removed where nothing was built, by a process without the lock: %v", err)
	}
	if _, err := b.Build(t.Context(), KubeProxy); err != nil {
		t.Fatal(err)
	}
	for name, there := range map[string]bool{
		"v1.36.3-0123456789ab": false, modulePrefix + "v1.36.3-0123": false,
		"v1.37.0-0123456789ab": true, "of somebody else": true, filepath.Base(built.Dir): true,
	} {
		_, err := os.Stat(filepath.Join(b.Cache, name, "kept"))
		if there && err != nil || !there && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v, want it there: %t", name, err, there)
		}
	}
}
