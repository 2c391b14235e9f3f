package image

import (
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Library is a file that a program loads when it starts.
type Library struct {
	Path string // where the program looks for it, below the root
	File string // where it is on this machine, no link
}

// LibraryDirs are the directories that the dynamic linker of Debian searches without a cache, for a GOARCH.
func LibraryDirs(arch string) ([]string, error) {
	triplets := map[string]string{"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}
	t, known := triplets[arch]
	if !known {
		return nil, fmt.Errorf("architecture %q: not known here", arch)
	}
	return []string{"/lib/" + t, "/usr/lib/" + t, "/lib64", "/usr/lib64", "/lib", "/usr/lib"}, nil
}

// Libraries returns everything that an ELF program loads when it starts: its interpreter and its shared libraries,
// recursively (DT_NEEDED), each once. They are looked for below root, and nothing of root is executed, so it may be of
// another architecture. What a library opens while it runs is not seen. A static program, or a file that is not ELF,
// needs nothing.
func Libraries(root, program string, dirs []string) ([]Library, error) {
	return needs(readELF).libraries(root, program, dirs)
}

// CheckLibraries requires that a program of a root file system finds everything at the path where it looks for it.
func CheckLibraries(root, program string, dirs []string) error {
	return needs(readELF).check(root, program, dirs)
}

// needs reads what a file asks for: an interpreter by its path, and libraries by their names.
type needs func(file string) (interp string, libs []string, err error)

func (needs needs) check(root, program string, dirs []string) error {
	libs, err := needs.libraries(root, filepath.Join(root, program), dirs)
	if err != nil {
		return err
	}
	for _, lib := range libs {
		if _, err := resolve(root, lib.Path); err != nil {
			return fmt.Errorf("%s would not start: %w", program, err)
		}
	}
	return nil
}

func (needs needs) libraries(root, program string, dirs []string) ([]Library, error) {
	var found []Library
	seen := map[string]bool{}
	queue := []string{program}
	for len(queue) > 0 {
		file := queue[0]
		queue = queue[1:]
		interp, libs, err := needs(file)
		if err != nil {
			return nil, fmt.Errorf("read libraries of %s: %w", file, err)
		}
		// First: libraries may need it too (on arm64 they do), and find the one that the kernel has loaded by its path.
		if interp != "" && !seen[filepath.Base(interp)] {
			seen[filepath.Base(interp)] = true
			lib, err := findInterpreter(root, interp)
			if err != nil {
				return nil, fmt.Errorf("%s needs %s: %w", file, interp, err)
			}
			found = append(found, lib)
		}
		for _, name := range libs {
			if seen[name] {
				continue
			}
			seen[name] = true
			lib, err := findLibrary(root, name, dirs)
			if err != nil {
				return nil, fmt.Errorf("%s needs %s: %w", file, name, err)
			}
			found = append(found, lib)
			queue = append(queue, lib.File)
		}
	}
	return found, nil
}

// readELF returns the interpreter and the DT_NEEDED entries of a file.
func readELF(file string) (interp string, needed []string, err error) {
	f, err := os.Open(file)
	if err != nil {
		return "", nil, err
	}
	defer f.Close()
	e, err := elf.NewFile(f)
	if err != nil {
		if _, ok := errors.AsType[*elf.FormatError](err); ok || errors.Is(err, io.EOF) {
			return "", nil, nil
		}
		return "", nil, err
	}
	for _, p := range e.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		b, err := io.ReadAll(p.Open())
		if err != nil {
			return "", nil, err
		}
		interp = strings.TrimRight(string(b), "\x00")
	}
	needed, err = e.ImportedLibraries()
	return interp, needed, err
}

func findLibrary(root, name string, dirs []string) (Library, error) {
	for _, d := range dirs {
		p := filepath.Join(d, name)
		if file, err := resolve(root, p); err == nil {
			return Library{Path: p, File: file}, nil
		}
	}
	return Library{}, fmt.Errorf("not in %s: %w", strings.Join(dirs, ", "), fs.ErrNotExist)
}

// findInterpreter knows that packages from Debian 13 on have below /usr what programs look for without it.
func findInterpreter(root, path string) (Library, error) {
	file, err := resolve(root, path)
	if errors.Is(err, fs.ErrNotExist) {
		file, err = resolve(root, "/usr"+path)
	}
	return Library{Path: path, File: file}, err
}

// resolve follows the links of a file below root, as a process would for which root is /.
func resolve(root, path string) (string, error) {
	const most = 20
	for range most {
		file := filepath.Join(root, path)
		info, err := os.Lstat(file)
		if err != nil {
			return "", err
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			return file, nil
		}
		target, err := os.Readlink(file)
		if err != nil {
			return "", err
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(path), target)
		}
		path = target
	}
	return "", fmt.Errorf("%s: too many links", path)
}
