package kube

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"time"

	"github.com/kube-ipvs/kube-ipvs/sync"
)

// emptyGrace is how long a file stays in force that became empty or vanished: editors and scripts write a file by
// emptying or moving it first.
const emptyGrace = time.Second

// file is what one manifest file has in force. It is used whole or not at all: as long as it cannot be read whole, what
// it said when it could last stays in force. Of a file that was never whole, or said nothing when it was, the good
// documents are used.
type file struct {
	name string
	// sum is that of the content in force or refused; zero asks for the content to be looked at whatever it is.
	sum      [sha256.Size]byte
	objects  []object
	problems []sync.Problem
	// whole: the file was good once, and objects are what it said then.
	whole bool
	// final: the file is not read again, so there is nothing to wait for.
	final bool
	// emptySince is when it was first seen empty or gone.
	emptySince time.Time
}

// holds reports whether there is something to keep in force while the file cannot be read whole.
func (f *file) holds() bool { return f.whole && len(f.objects) > 0 }

// take reads the content that the file has now. again, if not zero, is when to look at it again at the latest.
func (f *file) take(content []byte, now time.Time) (again time.Time) {
	sum := sha256.Sum256(content)
	if sum == f.sum {
		f.emptySince = time.Time{}
		return time.Time{}
	}
	d := decode(f.name, content)
	if d.documents == 0 {
		if again, waiting := f.wait(now); waiting {
			return again
		}
	}
	f.emptySince, f.sum, f.problems = time.Time{}, sum, nil
	broken := d.broken()
	for _, fault := range d.faults {
		f.problems = append(f.problems, f.problem(fault, &d))
	}
	if broken && f.holds() {
		return time.Time{}
	}
	f.objects, f.whole = d.objects, !broken
	return time.Time{}
}

func (f *file) problem(fault fault, d *decoded) sync.Problem {
	object, message := fault.where, fault.message
	if fault.object.name != "" { // whoever asks about the object is told
		object, message = fault.object.String(), fault.where+": "+message
	}
	switch {
	case !fault.fatal:
	case f.holds():
		message += "; what the file said before stays in force"
	case fault.object.kind == kindService:
		message += "; no node port of the Service is served"
	case len(d.objects) > 0:
		message += "; the rest of the file is used"
	}
	return sync.Problem{Object: sync.Printable(object), Reason: sync.Invalid, Message: sync.Printable(message), Skipped: fault.fatal}
}

// wait reports whether an empty or vanished file is still within its grace. One that never said anything is too: it
// may be about to be written when the agent starts.
func (f *file) wait(now time.Time) (again time.Time, waiting bool) {
	if f.final || f.whole && len(f.objects) == 0 {
		return time.Time{}, false
	}
	if f.emptySince.IsZero() {
		f.emptySince = now
	}
	again = f.emptySince.Add(emptyGrace)
	return again, now.Before(again)
}

// unreadable keeps what is in force.
func (f *file) unreadable(err error) {
	f.sum = [sha256.Size]byte{}
	f.emptySince = time.Time{}
	f.problems = []sync.Problem{unreadable(f.name, err, f.holds())}
}

// unreadable is the problem that a file or directory cannot be read; held says whether it could be before.
func unreadable(path string, err error, held bool) sync.Problem {
	var pathError *fs.PathError
	if errors.As(err, &pathError) {
		err = pathError.Err // The path is named already.
	}
	message := fmt.Sprintf("cannot be read (%v)", err)
	if held {
		message += "; what it said before stays in force"
	}
	return sync.Problem{Object: sync.Printable(path), Reason: sync.Invalid, Message: sync.Printable(message), Skipped: true}
}

// files are the manifest files by name.
type files map[string]*file

// get is the file of that name, a new one if there is none.
func (all files) get(name string, final bool) *file {
	f := all[name]
	if f == nil {
		f = &file{name: name, final: final}
		all[name] = f
	}
	return f
}

// keep forgets the files that are not among names, once their grace is over. again is when the first one is due.
func (all files) keep(names map[string]bool, now time.Time) (again time.Time) {
	for name, f := range all {
		if names[name] {
			continue
		}
		due, waiting := f.wait(now)
		if !waiting {
			delete(all, name)
			continue
		}
		again = earlier(again, due)
	}
	return again
}

// earlier is the earlier of two times of which zero means never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// content is what all files together say. Of an object that stands there twice the first counts, in the order of the
// file names and within a file from its beginning.
func (all files) content() (objects map[objectKey]object, problems []sync.Problem, incomplete bool) {
	objects = map[objectKey]object{}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		f := all[name]
		problems = append(problems, f.problems...)
		incomplete = incomplete || !f.whole
		for _, o := range f.objects {
			first, twice := objects[o.key]
			if !twice {
				objects[o.key] = o
				continue
			}
			problems = append(problems, sync.Problem{
				Object:  o.where,
				Reason:  sync.Invalid,
				Message: fmt.Sprintf("%s stands in %s too; that one is used", o.key, first.where),
				Skipped: o.key.kind == kindService,
			})
		}
	}
	return objects, problems, incomplete
}
