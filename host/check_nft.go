package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"strings"
)

// Runner runs a command and returns what it wrote to its standard output. The error has what it wrote to the other.
type Runner func(ctx context.Context, name string, args ...string) (string, error)

// Run is the Runner of real commands.
func Run(ctx context.Context, name string, args ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if text := strings.TrimSpace(stderr.String()); text != "" {
			return "", fmt.Errorf("%s: %w: %s", cmd, err, text)
		}
		return "", fmt.Errorf("%s: %w", cmd, err)
	}
	return stdout.String(), nil
}

// oldestNFT is what knftables asks for: older ones print JSON that it cannot read.
const oldestNFT = "1.0.1"

// CheckNFT reports whether there is an nft that is new enough, and whether it may read the ruleset.
func CheckNFT(ctx context.Context, run Runner) []Item {
	out, err := run(ctx, "nft", "--version")
	i := Item{Name: "nft", Status: OK, Detail: strings.TrimSpace(out)}
	switch {
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		i.Status, i.Detail, i.Mend = Fail, "there is no nft", installNFT
		return []Item{i}
	case err != nil:
		i.Status, i.Detail, i.Mend = Fail, err.Error(), installNFT
		return []Item{i}
	}
	version, ok := parseVersion(out)
	switch oldest, _ := parseVersion(oldestNFT); {
	case !ok:
		i.Status = Warn
		i.Detail = fmt.Sprintf("the version cannot be read from %q; %s or later is needed", i.Detail, oldestNFT)
	case version.before(oldest):
		i.Status, i.Mend = Fail, installNFT
		i.Detail += ": too old, " + oldestNFT + " or later is needed"
	}
	rules := Item{Name: "nftables", Status: OK, Detail: "the ruleset can be read"}
	if _, err := run(ctx, "nft", "list", "tables"); err != nil {
		rules.Status, rules.Detail = Fail, err.Error()
		rules.Mend = "run as root or with capability NET_ADMIN; if it is root already, the kernel lacks nf_tables: modprobe nf_tables"
	}
	return []Item{i, rules}
}

const installNFT = "install nftables " + oldestNFT + " or later (the project's image brings it): apt-get install nftables"

// version is major, minor and patch.
type version [3]int

// parseVersion takes the first word that is a version: "nftables v1.0.6 (Lester Gooch #5)" is 1.0.6. A missing patch
// level is 0.
func parseVersion(text string) (version, bool) {
	for word := range strings.FieldsSeq(text) {
		var v version
		if n, _ := fmt.Sscanf(strings.TrimPrefix(word, "v"), "%d.%d.%d", &v[0], &v[1], &v[2]); n >= 2 {
			return v, true
		}
	}
	return version{}, false
}

func (v version) before(o version) bool {
	for i := range v {
		if v[i] != o[i] {
			return v[i] < o[i]
		}
	}
	return false
}
