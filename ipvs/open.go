package ipvs

import (
	"errors"
	"time"
)

// ErrNoIPVS is why Open fails on a kernel without IPVS. The message says what to do: nothing here loads the module.
var ErrNoIPVS = errors.New("the kernel has no IPVS (modprobe ip_vs)")

// answerLimit is how long a handle waits for the kernel before it gives an exchange up. The kernel answers from within
// the system call that asks, so it is never reached unless an answer was lost.
const answerLimit = 10 * time.Second

// Options say which table Open opens.
type Options struct {
	// Namespace is the path of a network namespace, for example /run/netns/blue or /proc/42/ns/net; "" is the one of
	// the calling thread. Any other than that takes CAP_SYS_ADMIN to enter.
	Namespace string
	// Renewed is called, in the midst of a call of the handle, when module ip_vs turns out to have been unloaded and loaded since the
	// call before: whatever there was is gone. It must not call the handle. Nil is for whoever does not care. OpenStats never calls it.
	Renewed func()
}
