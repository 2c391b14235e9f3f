package nodeaddr

import (
	"testing"
	"testing/synctest"
	"time"
)

// take reports when the next notice comes, counted from start; it fails the test if none comes within a second.
func take(t *testing.T, n *notice, start time.Time) time.Duration {
	t.Helper()
	select {
	case <-n.c:
	case <-time.After(time.Second):
		t.Fatal("no notice")
	}
	return time.Since(start)
}

func TestTheFirstChangeOfABurstIsToldAtOnceAndTheRestTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNotice(changeGap)
		start := time.Now()
		n.send()
		if d := take(t, n, start); d != 0 {
			t.Errorf("the first was told after %v", d)
		}
		for range 500 {
			n.send()
		}
		if d := take(t, n, start); d != changeGap {
			t.Errorf("the rest was told after %v, want %v", d, changeGap)
		}
		time.Sleep(time.Second)
		select {
		case <-n.c:
			t.Error("one notice too many")
		default:
		}
		start = time.Now()
		n.send()
		if d := take(t, n, start); d != 0 {
			t.Errorf("a change in quiet times was told after %v", d)
		}
	})
}

func TestAStoppedNoticeStaysSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNotice(changeGap)
		n.send()
		<-n.c
		n.send()
		n.stop()
		time.Sleep(time.Second)
		select {
		case <-n.c:
			t.Error("told after stop")
		default:
		}
	})
}
