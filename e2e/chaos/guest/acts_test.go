package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var errAct = errors.New("it went wrong")

// What is under way when the time is over comes to its end, and if it fails there, the run has failed.
func TestAnErrorThatComesAfterTheEndIsNotLost(t *testing.T) {
	late := func(ctx context.Context) error {
		var fails error
		return overlapping(ctx, func() time.Duration { return 9 * time.Second }, func() func() error {
			mine := fails
			fails = errAct // of the second, which is the last
			return func() error {
				time.Sleep(2 * time.Second)
				return mine
			}
		})
	}
	for name, c := range map[string]struct {
		acts []act
		want error
	}{
		"all is well": {[]act{well}, nil},
		"of what overlaps": {[]act{well, func(ctx context.Context, _ *rand.Rand) error {
			limited, cancel := context.WithTimeout(ctx, 19*time.Second)
			defer cancel()
			return late(limited)
		}}, errAct},
		"of an act": {[]act{func(ctx context.Context, _ *rand.Rand) error {
			<-ctx.Done()
			time.Sleep(time.Second)
			return errAct
		}, well}, errAct},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				defer cancel()
				if err := together(ctx, salted, c.acts); !errors.Is(err, c.want) {
					t.Errorf("%v, want %v", err, c.want)
				}
			})
		})
	}
}

func TestTheFirstErrorEndsWhatIsBegunAndTheOtherActs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, begun, ended := time.Now(), 0, atomic.Int32{}
		fails := func(ctx context.Context, _ *rand.Rand) error {
			return overlapping(ctx, func() time.Duration { return 2 * time.Second }, func() func() error {
				begun++
				return func() error {
					time.Sleep(5 * time.Second)
					ended.Add(1)
					return errAct
				}
			})
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		err := together(ctx, salted, []act{well, fails})
		// The three that began before the first one failed, after 7 s, end 11 s after the beginning.
		if took := time.Since(began); !errors.Is(err, errAct) || took != 11*time.Second || begun != 3 || ended.Load() != 3 {
			t.Errorf("%v after %v: %d were begun, %d ended", err, took, begun, ended.Load())
		}
	})
}

// well goes on until the end.
func well(ctx context.Context, _ *rand.Rand) error {
	for pause(ctx, time.Second) == nil {
		continue
	}
	return nil
}

func salted(salt int) *rand.Rand { return rand.New(rand.NewPCG(1, uint64(salt))) }
