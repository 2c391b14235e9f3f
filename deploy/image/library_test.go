package image

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
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
	interp, needed, err := readELF("/bin/sh")
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

// nftOf is a root file system with nft as Debian 12 has it for an architecture, and what its files ask for.
func nftOf(t *testing.T, interp, triplet string) (root string, n needs) {
	t.Helper()
	root, loader := t.TempDir(), filepath.Base(interp)
	for _, file := range []string{NFT, "/lib/" + triplet + "/libc.so.6", "/lib/" + triplet + "/" + loader} {
		file = filepath.Join(root, file)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, nil, 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	link := filepath.Join(root, interp)
	if err := errors.Join(os.MkdirAll(filepath.Dir(link), 0o755), os.Symlink("/lib/"+triplet+"/"+loader, link)); err != nil {
		t.Fatal(err)
	}
	asks := map[string][]string{"nft": {"libc.so.6", loader}, "libc.so.6": {loader}}
	return root, func(file string) (string, []string, error) {
		if filepath.Base(file) == "nft" {
			return interp, asks["nft"], nil
		}
		return "", asks[filepath.Base(file)], nil
	}
}

// The kernel looks for the interpreter at this path and nowhere else; without it nft is "no such file or directory".
func TestTheInterpreterIsWhereTheKernelLooksForIt(t *testing.T) {
	for arch, interp := range map[string]string{"amd64": "/lib64/ld-linux-x86-64.so.2", "arm64": "/lib/ld-linux-aarch64.so.1"} {
		t.Run(arch, func(t *testing.T) {
			d, err := LibraryDirs(arch)
			if err != nil {
				t.Fatal(err)
			}
			root, n := nftOf(t, interp, filepath.Base(d[0]))
			libs, err := n.libraries(root, filepath.Join(root, NFT), d)
			if err != nil {
				t.Fatal(err)
			}
			var paths []string
			for _, l := range libs {
				paths = append(paths, l.Path)
			}
			if want := []string{interp, d[0] + "/libc.so.6"}; !slices.Equal(paths, want) {
				t.Errorf("nft is given %q, want %q", paths, want)
			}
			if err := n.check(root, NFT, d); err != nil {
				t.Error(err)
			}
			if err := os.Remove(filepath.Join(root, interp)); err != nil {
				t.Fatal(err)
			}
			if err := n.check(root, NFT, d); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("without %s: %v", interp, err)
			}
			moved := filepath.Join(root, "usr", interp) // where the package has it is not where the image needs it
			if err := errors.Join(os.MkdirAll(filepath.Dir(moved), 0o755), os.WriteFile(moved, nil, 0o755)); err != nil {
				t.Fatal(err)
			}
			if err := n.check(root, NFT, d); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("with %s below /usr alone: %v", interp, err)
			}
		})
	}
}
