package lab

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

// libraryDirs are the directories the dynamic linker of Debian searches without a cache.
func libraryDirs() []string {
	return []string{"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib"}
}

// libraryClosure returns the paths of everything an ELF program loads when it starts: its interpreter and its shared
// libraries, recursively (DT_NEEDED). What a library opens while it runs is not seen. A static program or a file
// that is not ELF needs nothing.
func libraryClosure(program string, dirs []string) ([]string, error) {
	var found []string
	seen := map[string]bool{}
	queue := []string{program}
	for len(queue) > 0 {
		file := queue[0]
		queue = queue[1:]
		interp, needed, err := elfNeeds(file)
		if err != nil {
			return nil, fmt.Errorf("read libraries of %s: %w", file, err)
		}
		for _, lib := range needed {
			if seen[lib] {
				continue
			}
			seen[lib] = true
			p, err := findLibrary(lib, dirs)
			if err != nil {
				return nil, fmt.Errorf("%s needs %s: %w", file, lib, err)
			}
			found = append(found, p)
			queue = append(queue, p)
		}
		if interp != "" && !seen[filepath.Base(interp)] {
			seen[filepath.Base(interp)] = true
			found = append(found, interp)
		}
	}
	return found, nil
}

// elfNeeds returns the interpreter and the DT_NEEDED entries of a file.
func elfNeeds(file string) (interp string, needed []string, err error) {
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

func findLibrary(name string, dirs []string) (string, error) {
	for _, d := range dirs {
		p := filepath.Join(d, name)
		if _, err := os.Stat(p); err == nil {
			return p, nil
		}
	}
	return "", fmt.Errorf("not in %s: %w", strings.Join(dirs, ", "), fs.ErrNotExist)
}
