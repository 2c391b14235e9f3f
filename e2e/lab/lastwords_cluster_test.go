//go:build cluster

package lab

import (
	"os"
	"testing"
	"time"
)

// What the guest is to say, and the variable of its environment that has it do so.
const (
	lastWords    = 1 << 20 // more than the socket holds, less than the port does
	envLastWords = "KUBE_IPVS_TEST_LAST_WORDS"
)

// TestMain is, in the guest, the program that talks.
func TestMain(m *testing.M) {
	if os.Getenv(envLastWords) == "" {
		os.Exit(m.Run())
	}
	if _, err := os.Stdout.Write(make([]byte, lastWords)); err != nil {
		os.Exit(1)
	}
}

// A host that is slow to read has the last frames wait in the guest's port, where its power-off would find them.
func TestAGuestWaitsUntilItsLastWordsAreHeard(t *testing.T) {
	l, err := New(os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	kernel, err := l.Prepare(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	init, err := BuildInit(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	g := &Guest{Kernel: kernel, Init: init, Memory: "512M", Files: []File{{Source: self, Dest: "/lab/self"}}, Timeout: 2 * time.Minute}
	step := Step{Name: "talk", Args: []string{"/lab/self"}, Env: []string{envLastWords + "=1"}}
	slow := &slowListener{}
	if _, err = g.Run(t.Context(), Job{Steps: []Step{step}}, slow); err != nil {
		t.Error(err)
	}
	if slow.exit.Code != 0 || slow.exit.Error != "" || slow.heard != lastWords {
		t.Errorf("%d bytes were heard of %d, and %+v", slow.heard, lastWords, slow.exit)
	}
}

// slowListener is an Observer that takes its time with the first output, and then hears all.
type slowListener struct {
	heard int
	exit  Exit
}

func (*slowListener) Started(int) {}

func (s *slowListener) Output(_ int, _ Stream, data []byte) {
	if s.heard == 0 {
		time.Sleep(5 * time.Second)
	}
	s.heard += len(data)
}

func (s *slowListener) Exited(e Exit) { s.exit = e }
