package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab"
)

// A first build with a cold cache takes minutes, which say nothing about the guest.
func TestTheTimeoutOfExecDoesNotCountWhatIsBuiltBefore(t *testing.T) {
	bin := t.TempDir()
	script := "#!/bin/sh\n[ \"$1\" != list ] || echo /bin/built\n"
	if err := os.WriteFile(filepath.Join(bin, "go"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	g := guestFlags{timeout: time.Nanosecond, programs: []string{"./demo"}}
	err := execInGuest(t.Context(), lab.Kernel{Dir: t.TempDir()}, g, []string{"true"}, &passThrough{})
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v, want the build to be over and the kernel missing", err)
	}
}
