package cluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// stateDir is a temporary directory that is known to be in use by the lock on a file in it, which ends with us.
type stateDir struct {
	path string
	lock *os.File
}

const (
	statePrefix = "kube-ipvs-controlplane-"
	stateLock   = "lock"
)

// newStateDir makes a directory below temp, and removes what others that were killed have left there.
func newStateDir(temp string) (*stateDir, error) {
	sweep(temp)
	young, err := os.MkdirTemp(temp, "."+statePrefix) // without its lock it is not seen by sweep
	if err != nil {
		return nil, fmt.Errorf("make state directory: %w", err)
	}
	d := &stateDir{path: filepath.Join(temp, filepath.Base(young)[1:])}
	d.lock, err = os.OpenFile(filepath.Join(young, stateLock), os.O_CREATE|os.O_RDWR, 0o600)
	if err == nil {
		err = syscall.Flock(int(d.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	}
	if err == nil {
		err = os.Rename(young, d.path)
	}
	if err != nil {
		return nil, fmt.Errorf("make state directory: %w", errors.Join(err, os.RemoveAll(young)))
	}
	return d, nil
}

// remove removes the directory with everything in it.
func (d *stateDir) remove() error {
	err := os.RemoveAll(d.path)
	d.lock.Close()
	if err != nil {
		return fmt.Errorf("remove state directory: %w", err)
	}
	return nil
}

// sweep removes directories whose owner is gone. What belongs to others is left alone.
func sweep(temp string) {
	dirs, _ := filepath.Glob(filepath.Join(temp, statePrefix+"*")) // the pattern is well-formed
	for _, dir := range dirs {
		f, err := os.OpenFile(filepath.Join(dir, stateLock), os.O_RDWR, 0)
		if err != nil {
			continue
		}
		if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			_ = os.RemoveAll(dir)
		}
		f.Close()
	}
}
