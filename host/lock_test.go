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
		if !errors.As(err, &held) || held.PID != os.Getpid() || held.UID != os.Geteuid() || held.Silent {
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

func TestTheErrorSaysAsMuchOfTheHolderAsCanBeSeenAndWhatToDo(t *testing.T) {
	const (
		writes   = " writes the IPVS table of this network namespace already: stop it first"
		stranger = ", which is neither root's nor yours,"
		taken    = " has taken the name @kube-ipvs/writer, which is the lock of the one agent of this network namespace"
		silent   = ", and does not answer, as an agent would"
		find     = ": find it with `ss -xap | grep kube-ipvs` on the node"
	)
	for _, tc := range []struct {
		held HeldError
		want string
	}{
		{HeldError{Holder: Holder{UID: -1}}, "a program that cannot be seen from here" + writes + find},
		{HeldError{Holder: Holder{UID: 0}}, "a program of user 0 that cannot be seen from here" + writes + find},
		{HeldError{Holder: Holder{PID: 7, UID: -1}}, "process 7" + writes},
		{HeldError{Holder: Holder{PID: 7, UID: 0}}, "process 7 (user 0)" + writes},
		{HeldError{Holder: Holder{PID: 7, UID: -1, Command: "kube-ipvs"}}, `process 7 ("kube-ipvs")` + writes},
		{HeldError{Holder: Holder{PID: 7, UID: 0, Command: "kube-ipvs"}}, `process 7 ("kube-ipvs", user 0)` + writes},
		{HeldError{Holder: Holder{PID: 7, UID: 65533, Command: "nc"}}, `process 7 ("nc", user 65533)` + stranger + taken + ": end it"},
		{HeldError{Holder: Holder{UID: 65533}}, "a program of user 65533 that cannot be seen from here" + stranger + taken + ": end it" + find},
		{HeldError{Holder: Holder{PID: 7, UID: 0, Command: "nc"}, Silent: true}, `process 7 ("nc", user 0)` + taken + silent + ": end it"},
	} {
		if got := tc.held.Error(); got != tc.want {
			t.Errorf("it says\n%s\nwant\n%s", got, tc.want)
		}
	}
}
