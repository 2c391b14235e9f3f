package main

import (
	"context"
	"io"
	"net"
	"slices"
	"testing"
	"time"
)

// echoServer answers what it is told through a tap.
func echoServer(t *testing.T) *tap {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tap := &tap{Listener: l, conns: map[net.Conn]bool{}}
	go func() {
		for {
			c, err := tap.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(c, c); _ = c.Close() }()
		}
	}()
	t.Cleanup(func() { tap.set(passing); _ = l.Close() })
	return tap
}

// says sends a word and returns what became of it within a moment.
func says(c net.Conn, patience time.Duration) error {
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := io.WriteString(c, "word"); err != nil {
		return err
	}
	_, err := io.ReadFull(c, make([]byte, len("word")))
	return err
}

func dialTap(t *testing.T, tap *tap) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", tap.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

const long = 10 * time.Second

func TestATapThatRefusesBreaksWhatThereIsAndTakesNothingNewUntilItPasses(t *testing.T) {
	tap := echoServer(t)
	old := dialTap(t, tap)
	if err := says(old, long); err != nil {
		t.Fatal(err)
	}
	tap.set(refusing)
	if err := says(old, long); err == nil {
		t.Error("the old connection is answered")
	}
	if c, err := net.Dial("tcp", tap.Addr().String()); err == nil { // else it was reset within the call
		defer c.Close()
		if says(c, long) == nil {
			t.Error("a new connection is answered")
		}
	}
	tap.set(passing)
	if err := says(dialTap(t, tap), long); err != nil {
		t.Error(err)
	}
}

func TestATapThatStallsAnswersNobodyAndForgetsNothing(t *testing.T) {
	tap := echoServer(t)
	old := dialTap(t, tap)
	if err := says(old, long); err != nil {
		t.Fatal(err)
	}
	tap.set(stalling)
	for _, c := range []net.Conn{old, dialTap(t, tap)} {
		if err := says(c, 100*time.Millisecond); err == nil {
			t.Error("a connection is answered")
		}
		tap.set(passing)
		_ = c.SetDeadline(time.Now().Add(long))
		if _, err := io.ReadFull(c, make([]byte, len("word"))); err != nil {
			t.Errorf("what was said meanwhile is lost: %v", err)
		}
		tap.set(stalling)
	}
}

func TestAStallGoesOnUntilSomethingIsHeldBack(t *testing.T) {
	tap := echoServer(t)
	c := dialTap(t, tap)
	if err := says(c, long); err != nil {
		t.Fatal(err)
	}
	s := &source{tap: tap, patience: long}
	spoken := make(chan error, 1)
	time.AfterFunc(100*time.Millisecond, func() { spoken <- says(c, long) })
	s.stall(t.Context(), time.Millisecond)
	if err := <-spoken; err != nil {
		t.Errorf("what was said meanwhile is lost: %v", err)
	}
	if n := len("word"); !slices.Equal(s.withheld, []int{n}) {
		t.Errorf("%d bytes were held back, want %d", s.withheld, n)
	}
}

func TestAStallInWhichNobodySpeaksHoldsNothingBackAndOneThatIsBrokenOffDoesNotCount(t *testing.T) {
	tap := echoServer(t)
	c := dialTap(t, tap)
	s := &source{tap: tap, patience: 50 * time.Millisecond}
	s.stall(t.Context(), time.Millisecond)
	if !slices.Equal(s.withheld, []int{0}) {
		t.Errorf("%d bytes were held back", s.withheld)
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	s.stall(over, long)
	if len(s.withheld) != 1 {
		t.Errorf("%d bytes were held back", s.withheld)
	}
	if err := says(c, long); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}
