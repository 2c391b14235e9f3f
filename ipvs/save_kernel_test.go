//go:build kernel && linux

package ipvs_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

// ipvsadm is the judge of what Save writes: it must take it, make the same table of it, and print it in the same
// words.
func TestKernelTakesSavedLinesThroughIpvsadm(t *testing.T) {
	table := mustParse(t, savableText)
	inFreshNamespace(t, func() {
		ipvsadm(t, save(t, table), "-R")
		h := open(t, ipvs.Options{})
		got, err := h.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		wantTable(t, "what ipvsadm made of the saved lines", got, table)

		want := sortedLines(withoutWhatIpvsadmDoesNotPrint(save(t, table)))
		if diff := cmp.Diff(want, sortedLines(ipvsadm(t, "", "-Sn"))); diff != "" {
			t.Errorf("ipvsadm -Sn prints other words (-want +got):\n%s", diff)
		}
	})
}

func TestKernelIsReadFromWhatIpvsadmPrints(t *testing.T) {
	table := mustParse(t, savableText)
	inFreshNamespace(t, func() {
		h := open(t, ipvs.Options{})
		result := ipvs.Apply(t.Context(), h, ipvs.Diff(nil, table))
		if len(result.Failed)+len(result.Uncertain) != 0 {
			t.Fatalf("failed %v, uncertain %v", result.Failed, result.Uncertain)
		}
		got, err := ipvs.ParseSave(strings.NewReader(ipvsadm(t, "", "-Sn")))
		if err != nil {
			t.Fatal(err)
		}
		want, err := ipvs.ParseSave(strings.NewReader(withoutWhatIpvsadmDoesNotPrint(save(t, table))))
		if err != nil {
			t.Fatal(err)
		}
		wantTable(t, "read from ipvsadm -Sn", got, want)
	})
}

// withoutWhatIpvsadmDoesNotPrint drops the thresholds and the third flag of sh and mh: ipvsadm 1.31 reads them and
// does not print them.
func withoutWhatIpvsadmDoesNotPrint(saved string) string {
	return strings.NewReplacer(" -x 100 -y 50", "", "sh-port,flag-3", "sh-port").Replace(saved)
}

// ipvsadm runs in the network namespace of the calling thread, which must be locked.
func ipvsadm(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "ipvsadm", args...)
	cmd.Stdin = strings.NewReader(stdin)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil || stderr.Len() != 0 {
		t.Fatalf("ipvsadm %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return string(out)
}

// sortedLines are the lines of a text in one order: ipvsadm prints by protocol first.
func sortedLines(text string) []string {
	var lines []string
	for line := range strings.Lines(text) {
		lines = append(lines, strings.TrimSpace(line))
	}
	slices.Sort(lines)
	return lines
}
