package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// unit is the lines of the systemd unit.
func unit(t *testing.T) []string {
	t.Helper()
	return systemdFile(t, "kube-ipvs.service")
}

// systemdFile is the lines of a file of systemd's.
func systemdFile(t *testing.T, name string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(deployDir, "systemd", name))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(string(text), "\n")
}

// With a plus sign a command has all privileges: the first may set sysctls, and the agent may not.
func TestUnitPreparesTheNodeAndThenRunsTheAgent(t *testing.T) {
	const file = " --config=/etc/kube-ipvs/config.yaml"
	want := []string{"ExecStartPre=+/usr/bin/kube-ipvs run --init-only" + file, "ExecStart=/usr/bin/kube-ipvs run" + file}
	var got []string
	for _, line := range unit(t) {
		if strings.HasPrefix(line, "Exec") {
			got = append(got, line)
			if err := knows(strings.Fields(line)[1:]); err != nil {
				t.Errorf("%s: %v", line, err)
			}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestUnitLeavesTheAgentWhatItNeeds(t *testing.T) {
	lines := unit(t)
	for _, want := range []string{
		"CapabilityBoundingSet=CAP_NET_ADMIN",
		"RestrictAddressFamilies=AF_INET AF_INET6 AF_NETLINK AF_UNIX", // requests, IPVS and addresses, systemd
		"RuntimeDirectory=kube-ipvs",
		"RuntimeDirectoryPreserve=yes", // the sysctls stay when the agent ends, and so does their record
		"Restart=always",
	} {
		if !slices.Contains(lines, want) {
			t.Errorf("the unit lacks %s", want)
		}
	}
	if state := newRun().Flags().Lookup("state-dir").DefValue; state != "/run/kube-ipvs" {
		t.Errorf("the record is in %s, which is not the RuntimeDirectory", state)
	}
}

// With all its privileges root gives back what the record of the sysctls says, so that whoever may write the record could say anything.
func TestAUserWithoutPrivilegesGetsTheCapabilityAndNotTheRecord(t *testing.T) {
	lines := systemdFile(t, "unprivileged.conf")
	for _, want := range []string{"[Service]", "User=kube-ipvs", "AmbientCapabilities=CAP_NET_ADMIN", "RuntimeDirectory="} {
		if !slices.Contains(lines, want) {
			t.Errorf("the drop-in lacks %s", want)
		}
	}
	for _, line := range lines {
		if name, _, _ := strings.Cut(line, "="); slices.Contains([]string{"StateDirectory", "ReadWritePaths", "CapabilityBoundingSet"}, name) {
			t.Errorf("the drop-in gives it more: %s", line)
		}
	}
}
