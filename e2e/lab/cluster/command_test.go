package cluster

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestNothingOutlivesACommandThatIsNoLongerWanted(t *testing.T) {
	pid := filepath.Join(t.TempDir(), "pid")
	// A shell's job in the background ignores the interrupt.
	cmd := exec.Command("sh", "-c", `sleep 1000 & echo $! >"$0.tmp"; mv "$0.tmp" "$0"; wait`, pid)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- runToEnd(ctx, cmd) }()
	var job []byte
	eventually(t, "its pid", func() (ok bool) {
		var err error
		job, err = os.ReadFile(pid)
		return err == nil
	})
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	exe := filepath.Join("/proc", strings.TrimSpace(string(job)), "exe")
	eventually(t, "the job's end", func() bool { _, err := os.Readlink(exe); return err != nil })
}

func TestAKubeconfigHoldsEverything(t *testing.T) {
	f := newFiles(t.TempDir())
	o := Options{Binaries: Binaries{Dir: "/"}}
	if err := o.setDefaults(); err != nil {
		t.Fatal(err)
	}
	if _, err := f.write(&o, "https://127.0.0.1:1"); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(f.kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"server: https://127.0.0.1:1\n", "certificate-authority-data: ", "client-certificate-data: ", "client-key-data: "} {
		if !bytes.Contains(b, []byte(want)) {
			t.Errorf("lacks %q", want)
		}
	}
}
