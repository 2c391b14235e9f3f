package host

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// sysctlRecord is the content of the state file: what sysctls were before they were changed.
type sysctlRecord struct {
	// BootID names the boot that the values are of. After another one the kernel starts with its own values again.
	BootID string              `json:"bootID"`
	Values map[string]recorded `json:"values"`
}

type recorded struct {
	Before string `json:"before"`
	Set    string `json:"set"`
}

// note records a change that is about to be made. The value before the first change is what counts: somebody may have
// turned the setting back meanwhile, or another version of the agent may have set it otherwise.
func (r *sysctlRecord) note(s Sysctl, found string) {
	v, known := r.Values[s.Name]
	if !known {
		v.Before = found
	}
	v.Set = normalise(s.Value)
	r.Values[s.Name] = v
}

func (s Sysctls) recordPath() string {
	return filepath.Join(orDefault(s.StateDir, defaultStateDir), "sysctls.json")
}

// load reads the record; without one, or with one from an earlier boot, it is empty. One that cannot be read is an
// error: to go on would record our own values as those of before.
func (s Sysctls) load() (sysctlRecord, error) {
	boot, err := s.bootID()
	if err != nil {
		return sysctlRecord{}, err
	}
	empty := sysctlRecord{BootID: boot, Values: map[string]recorded{}}
	var r sysctlRecord
	if found, err := loadRecord(s.recordPath(), &r); !found || err != nil {
		return empty, err
	}
	if r.BootID != boot || r.Values == nil {
		return empty, nil
	}
	for name := range r.Values {
		if !ofNetwork(name) {
			return empty, fmt.Errorf("sysctl record %s names %q, which is no setting of the network and was never changed: "+
				"somebody else wrote the file, so look who may write there, and remove it", s.recordPath(), name)
		}
	}
	return r, nil
}

// ofNetwork reports whether a setting is below net. All that are ever changed are, and what is recorded is given back with all
// privileges, whoever wrote the record: kernel.core_pattern names a program that the kernel starts.
func ofNetwork(name string) bool {
	file := sysctlFile(name)
	return filepath.IsLocal(file) && strings.HasPrefix(filepath.Clean(file), "net/")
}

// bootID names this boot of the node, "" where the kernel does not say.
func (s Sysctls) bootID() (string, error) {
	boot, err := s.read(bootID)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return boot, err
}

// store replaces the record as a whole, so that a crash leaves the old one or the new one.
func (s Sysctls) store(r sysctlRecord) error { return storeRecord(s.recordPath(), r) }

func (s Sysctls) forget() error { return forgetRecord(s.recordPath()) }

// loadRecord reads a record into content; false if there is none.
func loadRecord(path string, content any) (found bool, err error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if errors.Is(err, fs.ErrPermission) {
		return false, fmt.Errorf("sysctl record: %w for user %d: let everybody read it (chmod a+r), and enter its directory (chmod a+x); "+
			"nothing in it is secret", err, os.Geteuid())
	}
	if err != nil {
		return false, fmt.Errorf("sysctl record: %w", err)
	}
	if err := json.Unmarshal(text, content); err != nil {
		return false, fmt.Errorf("sysctl record %s cannot be read (remove it to start without): %w", path, err)
	}
	return true, nil
}

func storeRecord(path string, content any) error {
	text, err := json.MarshalIndent(content, "", "  ")
	if err != nil {
		return fmt.Errorf("sysctl record: %w", err)
	}
	// Whoever runs the agent has to read what a preparation by root has recorded. Nothing in it is secret.
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("sysctl record: %w", err)
	}
	temporary, err := os.CreateTemp(filepath.Dir(path), ".sysctls-*")
	if err != nil {
		return fmt.Errorf("sysctl record: %w", err)
	}
	_, err = temporary.Write(append(text, '\n'))
	if err = errors.Join(err, temporary.Chmod(0o644), temporary.Close()); err == nil {
		err = os.Rename(temporary.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("sysctl record: %w", errors.Join(err, os.Remove(temporary.Name())))
	}
	return nil
}

func forgetRecord(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("sysctl record: %w", err)
	}
	return nil
}
