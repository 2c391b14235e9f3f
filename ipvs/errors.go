package ipvs

import (
	"errors"
	"fmt"
	"syscall"
)

// ErrUnknown marks an operation that may or may not have been done: the answer was lost, or did not come in time. The
// virtual server has to be read again before anything is concluded.
var ErrUnknown = errors.New("no answer from the kernel")

// ErrSilent is the ErrUnknown of a call that waited for an answer as long as calls do, ten seconds. What is asked next may take as long.
var ErrSilent = fmt.Errorf("%w within %s", ErrUnknown, answerLimit)

// OpError is an operation that failed, with the reason as an errno (or ErrUnknown) beneath.
type OpError struct {
	Op  Op
	Err error
}

func (e *OpError) Error() string { return fmt.Sprintf("ipvs: %s: %v", e.Op, e.Err) }

// Unwrap makes errors.Is find the errno.
func (e *OpError) Unwrap() error { return e.Err }

// IsExist reports that a virtual or real server to be added is there already (EEXIST). Nothing of it was changed.
func IsExist(err error) bool { return errors.Is(err, syscall.EEXIST) }

// IsGone reports that the virtual server (ESRCH) or the real server (ENOENT) that an operation names does not exist.
// ENOENT of an operation on a virtual server is not such a case but IsUnknownScheduler.
func IsGone(err error) bool {
	return noVirtual(err) || errors.Is(err, syscall.ENOENT) && !IsUnknownScheduler(err)
}

// noVirtual reports that the virtual server that an operation names does not exist.
func noVirtual(err error) bool { return errors.Is(err, syscall.ESRCH) }

// IsUnknownScheduler reports that the kernel has no scheduler of the name that was asked for: ENOENT of an operation
// that names one.
func IsUnknownScheduler(err error) bool {
	var op *OpError
	return errors.As(err, &op) && (op.Op.Verb == AddVirtual || op.Op.Verb == SetVirtual) && errors.Is(op.Err, syscall.ENOENT)
}
