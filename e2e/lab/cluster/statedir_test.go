package cluster

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestStateOfTheDeadIsSweptAndThatOfTheLivingIsNot(t *testing.T) {
	temp := t.TempDir()
	newDir := func() *stateDir {
		t.Helper()
		d, err := newStateDir(temp)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	dead, alive := newDir(), newDir()
	if err := os.WriteFile(filepath.Join(dead.path, "data"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	dead.lock.Close() // as the end of its process does
	last := newDir()
	if _, err := os.Stat(dead.path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the state of the dead: %v", err)
	}
	for _, d := range []*stateDir{alive, last} {
		if _, err := os.Stat(d.path); err != nil {
			t.Error(err)
		}
		if err := d.remove(); err != nil {
			t.Error(err)
		}
	}
	left, err := os.ReadDir(temp)
	if err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}
