package cluster

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// script returns a component that is a shell script.
func script(t *testing.T, text string) *component {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "script"), []byte("#!/bin/sh\n"+text), 0o700); err != nil {
		t.Fatal(err)
	}
	c := newComponent(Binaries{Dir: dir}, dir, "script")
	t.Cleanup(func() { c.stop(0) })
	return c
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 10 s", what)
		}
	}
}

func TestAComponentThatEndsByItselfIsNamedWithTheEndOfItsLog(t *testing.T) {
	c := script(t, "echo one; echo two >&2; exit 3\n")
	if err := c.start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "its end", func() bool { return c.alive() != nil })
	want := "script ended: exit status 3\nlast lines of script.log:\n\tone\n\ttwo"
	if got := c.alive().Error(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAComponentStartsAgainAfterItWasStopped(t *testing.T) {
	c := script(t, "trap 'echo farewell; exit' TERM\necho here\nwhile :; do sleep 0.01; done\n")
	for n := 1; n <= 2; n++ {
		if err := c.start(); err != nil {
			t.Fatal(err)
		}
		if err := c.start(); err == nil {
			t.Fatal("started twice")
		}
		eventually(t, "its greeting", func() bool { return strings.Count(c.tail(10), "here") == n })
		c.stop(10 * time.Second)
		if got := strings.Count(c.tail(10), "farewell"); got != n {
			t.Errorf("%d farewells, want %d", got, n)
		}
		if err := c.alive(); err == nil || err.Error() != "script is stopped" {
			t.Errorf("%v", err)
		}
	}
}

// An interrupted run closes the control plane while a test may be about to start the API server again.
func TestAComponentThatIsClosedDoesNotStartAgain(t *testing.T) {
	c := script(t, "while :; do sleep 0.01; done\n")
	if err := c.start(); err != nil {
		t.Fatal(err)
	}
	c.close()
	if err := c.start(); err == nil || c.pid() != 0 {
		t.Errorf("%v, pid %d", err, c.pid())
	}
}

func TestAComponentThatDoesNotHeedIsKilled(t *testing.T) {
	c := script(t, "trap '' TERM\necho here\nwhile :; do sleep 0.01; done\n")
	if err := c.start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "its greeting", func() bool { return strings.Contains(c.tail(1), "here") })
	c.stop(10 * time.Millisecond)
	if pid := c.pid(); pid != 0 {
		t.Errorf("pid %d", pid)
	}
}
