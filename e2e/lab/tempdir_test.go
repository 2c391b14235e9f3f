package lab

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestTheDirectoryOfTheDeadIsSweptAndThatOfTheLivingIsNot(t *testing.T) {
	temp := t.TempDir()
	newDir := func() *TempDir {
		t.Helper()
		d, err := NewTempDir(temp, "kube-ipvs-test-")
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	dead, alive := newDir(), newDir()
	if err := os.WriteFile(filepath.Join(dead.Path, "data"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	dead.lock.Close() // as the end of its process does
	last := newDir()
	if _, err := os.Stat(dead.Path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the directory of the dead: %v", err)
	}
	for _, d := range []*TempDir{alive, last} {
		if _, err := os.Stat(d.Path); err != nil {
			t.Error(err)
		}
		if err := d.Remove(); err != nil {
			t.Error(err)
		}
	}
	left, err := os.ReadDir(temp)
	if err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}
