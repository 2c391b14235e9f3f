package host

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// lockName is an abstract unix socket: it belongs to the network namespace, as the IPVS table does, and it vanishes with
// its process however that ends.
const lockName = "@kube-ipvs/writer"

// HeldError means that another process has the lock.
type HeldError struct {
	// PID and Command are of the holder; 0 and empty if they cannot be seen, as from another pid namespace.
	PID     int
	Command string
}

func (e *HeldError) Error() string {
	switch {
	case e.PID == 0:
		return "another agent writes the IPVS table of this network namespace: find it with `ss -xlp | grep kube-ipvs` on the node"
	case e.Command == "":
		return fmt.Sprintf("process %d writes the IPVS table of this network namespace already: stop it first", e.PID)
	}
	return fmt.Sprintf("process %d (%s) writes the IPVS table of this network namespace already: stop it first",
		e.PID, e.Command)
}

// Lock makes the caller the only writer of the IPVS table of the calling thread's network namespace, until release is
// called or the process ends. It does not wait: errors.As finds a *HeldError if there is a writer already. There is no
// access control: any process of the namespace can take the lock.
func Lock() (release func() error, err error) { return lock(lockName) }

func lock(name string) (func() error, error) {
	listener, err := net.Listen("unix", name)
	if errors.Is(err, unix.EADDRINUSE) {
		return nil, heldBy(name)
	}
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		// Those who ask for the lock connect to see whose it is. Nothing is said to them. Should accepting fail, they
		// wait in the queue and the lock holds all the same.
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
		}
	}()
	return func() error {
		err := listener.Close()
		<-done
		return err
	}, nil
}

// heldBy asks the kernel who listens on the socket.
func heldBy(name string) *HeldError {
	c, err := net.DialTimeout("unix", name, time.Second)
	if err != nil {
		return &HeldError{}
	}
	defer func() { _ = c.Close() }() // nothing was written
	raw, err := c.(*net.UnixConn).SyscallConn()
	if err != nil {
		return &HeldError{}
	}
	held := &HeldError{}
	_ = raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			held.PID = int(cred.Pid)
		}
	})
	if held.PID != 0 {
		if comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", held.PID)); err == nil {
			held.Command = strings.TrimSpace(string(comm))
		}
	}
	return held
}
