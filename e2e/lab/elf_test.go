package lab

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestAScriptNeedsNoLibraries(t *testing.T) {
	file := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(file, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	libs, err := libraryClosure(file, libraryDirs())
	if err != nil || len(libs) != 0 {
		t.Errorf("%v, %v; want none", libs, err)
	}
}

func TestAProgramNeedsItsInterpreterAndLibraries(t *testing.T) {
	libs, err := libraryClosure("/bin/sh", libraryDirs())
	if err != nil {
		t.Fatal(err)
	}
	for _, lib := range libs {
		if _, err := os.Stat(lib); err != nil {
			t.Error(err)
		}
	}
	interp, needed, err := elfNeeds("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	if interp != "" && len(libs) < 1+len(needed) {
		t.Errorf("%v: fewer than %v and %s", libs, needed, interp)
	}
}

func TestAMissingLibraryIsAnError(t *testing.T) {
	if _, err := findLibrary("libnothing.so.1", []string{t.TempDir()}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v, want %v", err, fs.ErrNotExist)
	}
}
