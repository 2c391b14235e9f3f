package image

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

func dirs(t *testing.T) []string {
	t.Helper()
	d, err := LibraryDirs(runtime.GOARCH)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestAScriptNeedsNoLibraries(t *testing.T) {
	file := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(file, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	libs, err := Libraries("/", file, dirs(t))
	if err != nil || len(libs) != 0 {
		t.Errorf("%v, %v; want none", libs, err)
	}
}

func TestAProgramNeedsItsInterpreterAndLibraries(t *testing.T) {
	libs, err := Libraries("/", "/bin/sh", dirs(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, lib := range libs {
		if info, err := os.Lstat(lib.File); err != nil || !info.Mode().IsRegular() {
			t.Errorf("%v: %v, %v", lib, info, err)
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
	if _, err := findLibrary(t.TempDir(), "libnothing.so.1", dirs(t)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v, want %v", err, fs.ErrNotExist)
	}
}

// A link of another root must never lead to a file of this machine's.
func TestLinksAreFollowedBelowTheRoot(t *testing.T) {
	root := t.TempDir()
	for _, d := range []string{"lib64", "lib/x", "usr/lib/x"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	real := filepath.Join(root, "lib/x/ld.so")
	err := errors.Join(os.WriteFile(real, nil, 0o755), os.WriteFile(filepath.Join(root, "usr/lib/x/new.so"), nil, 0o755),
		os.Symlink("/lib/x/ld.so", filepath.Join(root, "lib64/absolute.so")), os.Symlink("../lib/x/ld.so", filepath.Join(root, "lib64/relative.so")),
		os.Symlink("/bin/sh", filepath.Join(root, "lib64/outside.so")), os.Symlink("loop.so", filepath.Join(root, "lib64/loop.so")))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"absolute.so", "relative.so"} {
		if got, err := findInterpreter(root, "/lib64/"+name); got.File != real || err != nil {
			t.Errorf("%s is %v, %v; want %s", name, got, err, real)
		}
	}
	for _, name := range []string{"outside.so", "loop.so"} {
		if got, err := resolve(root, "/lib64/"+name); err == nil {
			t.Errorf("%s is %s", name, got)
		}
	}
	if got, err := findInterpreter(root, "/lib/x/new.so"); err != nil || got.Path != "/lib/x/new.so" {
		t.Errorf("what moved below /usr: %v, %v", got, err)
	}
}
