package host

import (
	"errors"
	"fmt"
	"io"
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
		args := commandLine(proc, pid)
		if len(args) == 0 {
			continue // it has ended, or is a thread of the kernel
		}
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

const (
	// mostCommandLine is what is read of a command line, in bytes: a program may have one of megabytes, and every program of the node
	// is looked at.
	mostCommandLine = 32 << 10
	// mostConfig is what is read of a file that a program says is its configuration.
	mostConfig = 1 << 20
)

// commandLine has the program and those of its arguments that are whole in the first bytes; none if they cannot be seen.
func commandLine(proc fs.FS, pid int) []string {
	f, err := proc.Open(path.Join(strconv.Itoa(pid), "cmdline"))
	if err != nil {
		return nil
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, mostCommandLine))
	if err != nil || len(text) == 0 {
		return nil
	}
	args := strings.Split(strings.TrimRight(string(text), "\x00"), "\x00")
	if len(text) == mostCommandLine && len(args) > 1 {
		args = args[:len(args)-1] // the last one may be cut off
	}
	return args
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

// readFile reads a file as the process sees it, in its own container. It may be called anything by anybody: what is no plain file could
// be without end, or wait for somebody to write.
func (p Process) readFile(proc fs.FS, name string) ([]byte, error) {
	if !path.IsAbs(name) {
		return nil, errors.New("its path is relative")
	}
	name = path.Join(strconv.Itoa(p.PID), "root", name)
	info, err := fs.Stat(proc, name)
	if err != nil {
		return nil, fmt.Errorf("process %d: %w", p.PID, err)
	}
	if !info.Mode().IsRegular() || info.Size() > mostConfig {
		return nil, fmt.Errorf("process %d: it is no plain file of up to %d bytes", p.PID, mostConfig)
	}
	f, err := proc.Open(name)
	if err != nil {
		return nil, fmt.Errorf("process %d: %w", p.PID, err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, mostConfig)) // it may grow
	if err != nil {
		return nil, fmt.Errorf("process %d: %w", p.PID, err)
	}
	return text, nil
}

// told is what a program wrote of itself, short enough for a message.
func told(text string) string {
	const most = 200
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most]) + "..."
	}
	return text
}
