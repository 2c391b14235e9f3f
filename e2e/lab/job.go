package lab

import (
	"context"
	"fmt"
	"time"
)

// Where things are inside the guest.
const (
	guestDir  = "/lab"
	JobPath   = guestDir + "/job.json" // the Job, as JSON
	OutDir    = guestDir + "/out"      // $LAB_OUT: files written here arrive on the host
	PortName  = "kube-ipvs.lab"        // name of the virtio-serial port that carries the frames
	guestPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)

// Environment variables of a step.
const (
	EnvLab = "KUBE_IPVS_LAB" // "1": this is the lab
	EnvOut = "LAB_OUT"       // the directory whose files are brought back
)

// GuestEnv is the environment of every step in the guest.
func GuestEnv() []string {
	return []string{
		"PATH=" + guestPath, "HOME=/root", "TMPDIR=/tmp", "TERM=dumb",
		EnvLab + "=1", EnvOut + "=" + OutDir,
	}
}

// Job is what one guest does between boot and power-off.
type Job struct {
	// Time is the host's time at the start. The guest takes it over where its own clock is off.
	Time    time.Time
	Network bool // whether the guest has a network; set by Guest.Run
	Steps   []Step
}

// within limits a job's time. The error at its end names the flag that gives more.
func within(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	if timeout == 0 {
		return ctx, func() {}
	}
	return context.WithTimeoutCause(ctx, timeout, fmt.Errorf("-timeout of %v reached", timeout))
}

// Step is one command. Steps run one after the other, each in a fresh network namespace in which only lo is up, unless
// they are for the network.
type Step struct {
	Name string
	Args []string // Args[0] is looked up in PATH
	Dir  string
	Env  []string // in addition to the environment that every step has
	// OneStream sends standard error the way of standard output, which keeps their order.
	OneStream bool
	// Network runs the step where the guest's NetworkDevice is, in a namespace that it shares with its like, instead of
	// a fresh one.
	Network bool
}

// Boot is the first thing a guest says.
type Boot struct {
	Kernel string        // release, as in uname -r
	Uptime time.Duration // of the kernel
}

// Exit says how a step ended.
type Exit struct {
	Step    int
	Code    int    // 128 + signal number if a signal ended it
	Error   string // why the step could not be started or was not waited for; empty if it ran
	Elapsed time.Duration
}

// Stream tells the two outputs of a step apart.
type Stream byte

// The streams of a step.
const (
	Stdout Stream = iota
	Stderr
)

// Observer is told what a job's steps do while they do it, by one goroutine.
type Observer interface {
	// Started reports that a step is about to start.
	Started(step int)
	// Output hands over a piece of output; data is valid during the call only.
	Output(step int, s Stream, data []byte)
	// Exited reports the end of a step; no output follows.
	Exited(Exit)
}
