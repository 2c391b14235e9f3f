package host

import (
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// lockName is an abstract unix socket: it belongs to the network namespace, as the IPVS table does, and it vanishes with
// its process however that ends.
const lockName = "@kube-ipvs/writer"

// HeldError means that another process has the lock, or its name.
type HeldError struct {
	Holder
	// Silent is one that does not answer a connection, as an agent would.
	Silent bool
}

func (e *HeldError) Error() string {
	const taken = " has taken the name " + lockName + ", which is the lock of the one agent of this network namespace"
	text := e.String()
	switch {
	case e.Silent:
		text += taken + ", and does not answer, as an agent would: end it"
	case e.UID >= 0 && !e.Trusted():
		text += ", which is neither root's nor yours," + taken + ": end it"
	default:
		text += " writes the IPVS table of this network namespace already: stop it first"
	}
	if e.PID == 0 {
		text += ": find it with `ss -xap | grep kube-ipvs` on the node"
	}
	return text
}

// Lock makes the caller the only writer of the IPVS table of the calling thread's network namespace, until release is
// called or the process ends. It does not wait: errors.As finds a *HeldError if there is a writer already. There is no
// access control: any process of the namespace can take the lock, and the error says who.
func Lock() (release func() error, err error) { return lock(lockName) }

func lock(name string) (func() error, error) {
	listener, err := net.Listen("unix", name)
	if errors.Is(err, unix.EADDRINUSE) {
		holder, listens := HolderOf(name)
		return nil, &HeldError{Holder: holder, Silent: !listens}
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
