package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	restWindow = 250 * time.Millisecond
	restBusy   = 0.1 // of the processor, at most
	restTwice  = 2   // windows one after the other
)

// awaitRest returns when the machine has nothing to do for a moment, or after a while: then it reports false.
func awaitRest(ctx context.Context, patience time.Duration) bool {
	return awaitQuiet(ctx, patience, readTimes)
}

// awaitQuiet is awaitRest by whatever tells the times. What cannot be read is not at rest.
func awaitQuiet(ctx context.Context, patience time.Duration, read func() (times, error)) bool {
	deadline := time.Now().Add(patience)
	quiet := 0
	before, err := read()
	for err == nil && quiet < restTwice && time.Now().Before(deadline) {
		if pause(ctx, restWindow) != nil {
			return false
		}
		var now times
		if now, err = read(); err != nil {
			return false
		}
		if now.busy(before) < restBusy {
			quiet++
		} else {
			quiet = 0
		}
		before = now
	}
	return quiet >= restTwice
}

// times are what the processors have done since the boot, in ticks.
type times struct{ idle, all uint64 }

// busy is the share of the time since before in which something was done.
func (t times) busy(before times) float64 {
	if t.all <= before.all {
		return 0
	}
	return 1 - float64(int64(t.idle-before.idle))/float64(t.all-before.all) // the time of waiting for input and output may go back
}

func readTimes() (times, error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return times{}, err
	}
	return parseTimes(string(b))
}

// parseTimes reads the first line of /proc/stat: cpu, user, nice, system, idle, iowait, ...
func parseTimes(stat string) (times, error) {
	line, _, _ := strings.Cut(stat, "\n")
	fields := strings.Fields(line)
	if len(fields) < 6 || fields[0] != "cpu" {
		return times{}, errors.New("/proc/stat does not begin with the processors")
	}
	var t times
	for i, field := range fields[1:min(len(fields), 9)] { // guests' time is part of the user's
		n, err := strconv.ParseUint(field, 10, 64)
		if err != nil {
			return times{}, fmt.Errorf("/proc/stat: %w", err)
		}
		t.all += n
		if i == 3 || i == 4 {
			t.idle += n
		}
	}
	return t, nil
}

// pause waits.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
