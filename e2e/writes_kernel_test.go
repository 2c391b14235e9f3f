//go:build kernel && upgrade

package e2e

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const (
	tracefs    = "/sys/kernel/tracing"
	writeEvent = "kube_ipvs_upgrade/ipvs_write"
)

// watchWrites begins to look at what anybody writes to IPVS, in any network namespace: the kernel traces the function that all
// writes go through. It ends with the test.
func watchWrites(t *testing.T) {
	t.Helper()
	if err := unix.Mount("tracefs", tracefs, "tracefs", 0, ""); err != nil && !errors.Is(err, unix.EBUSY) {
		t.Fatal(err)
	}
	write := func(file, text string) {
		t.Helper()
		f, err := os.OpenFile(filepath.Join(tracefs, file), os.O_WRONLY|os.O_APPEND, 0)
		must(t, err)
		_, err = f.WriteString(text)
		must(t, errors.Join(err, f.Close()))
	}
	write("kprobe_events", "r:"+writeEvent+" ip_vs:ip_vs_genl_set_cmd error=$retval:s32\n")
	// What fails has written nothing. Each start has one such, which asks for a scheduler.
	write("events/"+writeEvent+"/filter", "error==0")
	write("events/"+writeEvent+"/enable", "1")
	t.Cleanup(func() {
		write("events/"+writeEvent+"/enable", "0")
		write("kprobe_events", "-:"+writeEvent+"\n")
	})
}

// seenWrites are those that were seen since the guest's start, a line each with the program and its process.
func seenWrites(t *testing.T) []string {
	t.Helper()
	trace, err := os.ReadFile(filepath.Join(tracefs, "trace"))
	must(t, err)
	var all []string
	for line := range strings.Lines(string(trace)) {
		if strings.Contains(line, "ip_vs_genl_set_cmd") {
			all = append(all, strings.TrimSpace(line))
		}
	}
	return all
}
