package host

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
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
	boot, err := s.read(bootID)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return sysctlRecord{}, err
	}
	empty := sysctlRecord{BootID: boot, Values: map[string]recorded{}}
	text, err := os.ReadFile(s.recordPath())
	if errors.Is(err, fs.ErrNotExist) {
		return empty, nil
	}
	if err != nil {
		return sysctlRecord{}, fmt.Errorf("sysctl record: %w", err)
	}
	var r sysctlRecord
	if err := json.Unmarshal(text, &r); err != nil {
		return sysctlRecord{}, fmt.Errorf("sysctl record %s cannot be read (remove it to start without): %w",
			s.recordPath(), err)
	}
	if r.BootID != boot || r.Values == nil {
		return empty, nil
	}
	return r, nil
}

// store replaces the record as a whole, so that a crash leaves the old one or the new one.
func (s Sysctls) store(r sysctlRecord) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("sysctl record: %w", err)
	}
	path := s.recordPath()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("sysctl record: %w", err)
	}
	temporary, err := os.CreateTemp(filepath.Dir(path), ".sysctls-*") // mode 0600
	if err != nil {
		return fmt.Errorf("sysctl record: %w", err)
	}
	_, err = temporary.Write(append(text, '\n'))
	if err = errors.Join(err, temporary.Close()); err == nil {
		err = os.Rename(temporary.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("sysctl record: %w", errors.Join(err, os.Remove(temporary.Name())))
	}
	return nil
}

func (s Sysctls) forget() error {
	if err := os.Remove(s.recordPath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("sysctl record: %w", err)
	}
	return nil
}
