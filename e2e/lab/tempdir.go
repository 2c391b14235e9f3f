package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// TempDir is a temporary directory that is known to be in use by the lock on a file in it, which ends with us: if we are
// killed, it goes when the next one of its prefix is made.
type TempDir struct {
	Path string
	lock *os.File
}

const tempLock = "lock"

// NewTempDir makes a directory below temp, os.TempDir() if that is empty, and removes what others that were killed have left
// there.
func NewTempDir(temp, prefix string) (*TempDir, error) {
	if temp == "" {
		temp = os.TempDir()
	}
	sweep(temp, prefix)
	young, err := os.MkdirTemp(temp, "."+prefix) // without its lock it is not seen by sweep
	if err != nil {
		return nil, fmt.Errorf("make temporary directory: %w", err)
	}
	d := &TempDir{Path: filepath.Join(temp, filepath.Base(young)[1:])}
	d.lock, err = os.OpenFile(filepath.Join(young, tempLock), os.O_CREATE|os.O_RDWR, 0o600)
	if err == nil {
		err = syscall.Flock(int(d.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	}
	if err == nil {
		err = os.Rename(young, d.Path)
	}
	if err != nil {
		return nil, fmt.Errorf("make temporary directory: %w", errors.Join(err, os.RemoveAll(young)))
	}
	return d, nil
}

// Remove removes the directory with everything in it.
func (d *TempDir) Remove() error {
	err := os.RemoveAll(d.Path)
	d.lock.Close()
	if err != nil {
		return fmt.Errorf("remove temporary directory: %w", err)
	}
	return nil
}

// sweep removes directories whose owner is gone. What belongs to others is left alone.
func sweep(temp, prefix string) {
	dirs, _ := filepath.Glob(filepath.Join(temp, prefix+"*")) // the pattern is well-formed
	for _, dir := range dirs {
		f, err := os.OpenFile(filepath.Join(dir, tempLock), os.O_RDWR, 0)
		if err != nil {
			continue
		}
		if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			_ = os.RemoveAll(dir)
		}
		f.Close()
	}
}
