package host

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
)

// testLock is the name of a lock of this test only: abstract sockets are seen in the whole network namespace.
func testLock(t *testing.T) string {
	return fmt.Sprintf("@kube-ipvs/test/%d/%s", os.Getpid(), t.Name())
}

func TestThereIsOneWriter(t *testing.T) {
	release, err := lock(testLock(t))
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		_, err := lock(testLock(t))
		var held *HeldError
		if !errors.As(err, &held) || held.PID != os.Getpid() {
			t.Fatalf("got %v, want a HeldError that names process %d", err, os.Getpid())
		}
		if !strings.Contains(err.Error(), held.Command) || held.Command == "" {
			t.Errorf("%q does not name the program %q", err, held.Command)
		}
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	release, err = lock(testLock(t))
	if err != nil {
		t.Fatalf("after its release: %v", err)
	}
	if err := release(); err != nil {
		t.Error(err)
	}
}

func TestAHolderThatCannotBeSeenIsSaidWithoutANumber(t *testing.T) {
	for _, tc := range []struct {
		held HeldError
		want string
	}{
		{HeldError{}, "another agent"},
		{HeldError{PID: 7}, "process 7 writes"},
		{HeldError{PID: 7, Command: "kube-ipvs"}, "process 7 (kube-ipvs) writes"},
	} {
		if got := tc.held.Error(); !strings.Contains(got, tc.want) {
			t.Errorf("%q does not say %q", got, tc.want)
		}
	}
}
