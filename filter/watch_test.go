package filter

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vishvananda/netlink/nl"
)

func TestASubscriptionIsMadeAnewLessAndLessOftenUntilTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		table := &Table{}
		table.own.begin()
		var tries []time.Time
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			if table.again(ctx, func() (*nl.NetlinkSocket, error) {
				tries = append(tries, time.Now())
				table.own.ours[uint32(len(tries))] = struct{}{} // a transaction that nobody will hear of
				return nil, errors.New("no buffer space")
			}) != nil {
				t.Error("a subscription that failed is taken for one")
			}
		}()
		begin := time.Now()
		time.Sleep(5 * time.Minute)
		cancel()
		<-ended
		want := []time.Duration{time.Second, 3 * time.Second, 7 * time.Second, 15 * time.Second, 31 * time.Second, 61 * time.Second}
		for i, at := range want {
			if i >= len(tries) || tries[i].Sub(begin) != at {
				t.Fatalf("tries at %v, want them after %v", tries, want)
			}
		}
		if n := len(tries); n != len(want)+7 {
			t.Errorf("%d tries in five minutes", n)
		}
		if n := len(table.own.ours); n != 0 {
			t.Errorf("%d transactions are remembered for nobody", n)
		}
	})
}
