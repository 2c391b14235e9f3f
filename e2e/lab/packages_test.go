package lab

import (
	"strings"
	"testing"
)

func TestWithoutRootAndSudoTheErrorIsTheInstallLine(t *testing.T) {
	fakeProgram(t, "apt-get", "exit 1")
	var progress strings.Builder
	err := installMissing(t.Context(), &progress, 1000)
	const want = "not root and no sudo: run as root: apt-get install -y -q --no-install-recommends qemu-system-x86 "
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("error %v, want one with %q", err, want)
	}
	if progress.Len() > 0 {
		t.Errorf("says that it installs what it cannot: %s", progress.String())
	}
}
