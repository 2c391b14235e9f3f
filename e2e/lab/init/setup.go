package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab"
)

type mount struct{ fstype, target, data string }

// setUp makes what programs expect of a system. /dev comes first: os/exec opens /dev/null.
func setUp() error {
	for _, m := range []mount{
		{"devtmpfs", "/dev", "mode=0755"},
		{"proc", "/proc", ""},
		{"sysfs", "/sys", ""},
		{"cgroup2", "/sys/fs/cgroup", ""},
		{"tmpfs", "/run", "mode=0755"},
		{"tmpfs", "/tmp", "mode=1777"},
	} {
		if err := os.MkdirAll(m.target, 0o755); err != nil {
			return fmt.Errorf("mount %s: %w", m.target, err)
		}
		if err := unix.Mount(m.fstype, m.target, m.fstype, 0, m.data); err != nil {
			return fmt.Errorf("mount %s: %w", m.target, err)
		}
	}
	for name, target := range map[string]string{
		"/dev/fd": "/proc/self/fd", "/dev/stdin": "fd/0", "/dev/stdout": "fd/1", "/dev/stderr": "fd/2",
	} {
		if err := os.Symlink(target, name); err != nil {
			return fmt.Errorf("set up: %w", err)
		}
	}
	for _, dir := range []string{"/run/netns", "/run/lock", "/root", "/var", lab.OutDir} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("set up: %w", err)
		}
	}
	if err := os.WriteFile("/proc/sys/kernel/modprobe", []byte("/sbin/modprobe"), 0o644); err != nil {
		return fmt.Errorf("set up: %w", err)
	}
	if err := unix.Sethostname([]byte("lab")); err != nil {
		return fmt.Errorf("set host name: %w", err)
	}
	if err := lab.LoopbackUp(); err != nil {
		return err
	}
	return setEnvironment()
}

// setEnvironment replaces the variables that the kernel gave, unknown kernel parameters among them.
func setEnvironment() error {
	os.Clearenv()
	for _, kv := range lab.GuestEnv() {
		k, v, _ := strings.Cut(kv, "=")
		if err := os.Setenv(k, v); err != nil {
			return fmt.Errorf("set %s: %w", k, err)
		}
	}
	return nil
}

// portPatience is how long the port may take to appear after its driver was loaded: the driver learns of it from a
// message of the device's.
const portPatience = 10 * time.Second

// openPort loads the drivers of the virtio-serial device and opens the port with a name.
func openPort(name string) (*os.File, error) {
	l, err := newLoader()
	if err != nil {
		return nil, err
	}
	for _, m := range []string{"virtio_pci", "virtio_console"} {
		if err := l.load(m); err != nil {
			return nil, err
		}
	}
	for deadline := time.Now().Add(portPatience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		dev, err := findPort(name)
		if err != nil {
			return nil, err
		}
		if dev == "" {
			continue
		}
		// The device file appears after the port does.
		f, err := os.OpenFile(dev, os.O_RDWR, 0)
		if err == nil || !errors.Is(err, os.ErrNotExist) {
			return f, err
		}
	}
	return nil, fmt.Errorf("no virtio-serial port %q within %v", name, portPatience)
}

func findPort(name string) (string, error) {
	files, err := filepath.Glob("/sys/class/virtio-ports/*/name")
	if err != nil {
		return "", err
	}
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil && strings.TrimSpace(string(b)) == name {
			return "/dev/" + filepath.Base(filepath.Dir(f)), nil
		}
	}
	return "", nil
}
