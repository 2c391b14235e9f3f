package image

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sync/errgroup"
)

// apt-get update fails where another one is under way, and does not wait.
func TestOfTwoBuildsOneWaitsForApt(t *testing.T) {
	bin, dir := t.TempDir(), t.TempDir()
	const alone = "#!/bin/sh\nmkdir \"$APT_BUSY\" || exit 100\nsleep 0.2\nrmdir \"$APT_BUSY\"\n"
	if err := os.WriteFile(filepath.Join(bin, "apt-get"), []byte(alone), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	t.Setenv("APT_BUSY", filepath.Join(dir, "busy"))
	var builds errgroup.Group
	for range 3 {
		builds.Go(func() error {
			_, err := Options{Arch: "amd64", Progress: io.Discard}.apt(t.Context(), dir, "update")
			return err
		})
	}
	if err := builds.Wait(); err != nil {
		t.Error(err)
	}
}
