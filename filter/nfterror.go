package filter

import (
	"context"
	"errors"
	"strings"

	"sigs.k8s.io/knftables"
)

// nftError is an error of nft on one line: what is wrong and the command it is wrong with. nft itself prints three lines
// for every command that failed, which can be each of thousands.
type nftError struct {
	err error
	// ended is why the context ended meanwhile, which killed nft; nil if it did not.
	ended error
}

func newNftError(ctx context.Context, err error) error { return nftError{err: err, ended: ctx.Err()} }

func (e nftError) Error() string {
	if errors.Is(e.ended, context.DeadlineExceeded) {
		return "nft had not ended in time, and was killed"
	}
	if e.ended != nil {
		return e.ended.Error()
	}
	lines := strings.Split(strings.TrimSpace(e.err.Error()), "\n")
	text := lines[0]
	if len(lines) > 1 {
		text += " in: " + strings.TrimSuffix(strings.TrimSpace(lines[1]), ",") // one of the elements of a command
	}
	if len(lines) > 3 {
		text += " (and more)"
	}
	return text
}

// Unwrap makes errors.Is find context.Canceled, which a killed process does not tell, and knftables its own error.
func (e nftError) Unwrap() []error {
	if e.ended != nil {
		return []error{e.ended, e.err}
	}
	return []error{e.err}
}

// isMissing reports that something does not exist.
func isMissing(err error) bool {
	return knftables.IsNotFound(err) || says(err, "No such file or directory")
}

// isOther reports that something exists already, and is not as it should be.
func isOther(err error) bool {
	return knftables.IsAlreadyExists(err) || says(err, "File exists")
}

// isBusy reports that something could not be deleted because something else refers to it.
func isBusy(err error) bool { return says(err, "Device or resource busy") }

// says reports that nft printed what it calls an error number, in its first line, and in English in every locale.
func says(err error, text string) bool {
	e, ok := errors.AsType[nftError](err)
	if !ok {
		return false
	}
	first, _, _ := strings.Cut(e.err.Error(), "\n")
	return strings.Contains(first, "Error: ") && strings.Contains(first, text)
}
