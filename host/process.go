package host

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Process is a running program.
type Process struct {
	PID  int
	Name string   // the last element of the path that it was started by
	Args []string // without the program
}

// Processes lists the programs of the given names that run in the caller's network namespace, in the order of their
// numbers; proc is /proc. A container without hostPID sees its own processes only.
func Processes(proc fs.FS, names ...string) ([]Process, error) {
	entries, err := fs.ReadDir(proc, ".")
	if err != nil {
		return nil, fmt.Errorf("processes: %w", err)
	}
	own, ownErr := fs.ReadLink(proc, "self/ns/net")
	var found []Process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		text, err := fs.ReadFile(proc, path.Join(e.Name(), "cmdline"))
		if err != nil || len(text) == 0 {
			continue // it has ended, or is a thread of the kernel
		}
		args := strings.Split(strings.TrimRight(string(text), "\x00"), "\x00")
		name := path.Base(args[0])
		if !slices.Contains(names, name) {
			continue
		}
		// One whose namespace cannot be seen is counted in: better a warning too many.
		if theirs, err := fs.ReadLink(proc, path.Join(e.Name(), "ns/net")); err == nil && ownErr == nil && theirs != own {
			continue
		}
		found = append(found, Process{PID: pid, Name: name, Args: args[1:]})
	}
	slices.SortFunc(found, func(a, b Process) int { return a.PID - b.PID })
	return found, nil
}

// flag is the value of a flag, as --name=value or --name value; the last one wins. A flag without a value is "true".
func (p Process) flag(name string) (value string, found bool) {
	for i, a := range p.Args {
		given, text, hasValue := strings.Cut(strings.TrimPrefix(a, "-"), "=")
		if strings.TrimPrefix(given, "-") != name || !strings.HasPrefix(a, "-") {
			continue
		}
		switch {
		case hasValue:
			value = text
		case i+1 < len(p.Args) && !strings.HasPrefix(p.Args[i+1], "-"):
			value = p.Args[i+1]
		default:
			value = "true"
		}
		found = true
	}
	return value, found
}

// list is the value of a flag that holds several, separated by commas.
func (p Process) list(name string) []string {
	value, _ := p.flag(name)
	return strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ' ' })
}

// readFile reads a file as the process sees it, in its own container.
func (p Process) readFile(proc fs.FS, name string) ([]byte, error) {
	if !path.IsAbs(name) {
		return nil, errors.New("its path is relative")
	}
	text, err := fs.ReadFile(proc, path.Join(strconv.Itoa(p.PID), "root", name))
	if err != nil {
		return nil, fmt.Errorf("process %d: %w", p.PID, err)
	}
	return text, nil
}
