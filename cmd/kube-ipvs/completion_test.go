package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// tabs is what bash does where the tabulator is typed at the end of each of its arguments but the first, which is the script: a
// line of replies for each. The words are as the package bash-completion has them for scripts that keep = and : in words.
const tabs = `
set -f
compopt() { :; }
_get_comp_words_by_ref() { cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} words=("${COMP_WORDS[@]}") cword=$COMP_CWORD; }
source "$1"
complete -p kube-ipvs | grep -q __start_kube-ipvs || exit 1
shift
for line; do
	COMP_LINE=$line COMP_POINT=${#line} COMP_TYPE=9 COMP_KEY=9
	COMP_WORDS=($line)
	[[ $line == *" " ]] && COMP_WORDS+=("")
	COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
	__start_kube-ipvs
	echo "${COMPREPLY[*]}"
done
`

func TestBashCompletesCommandsFlagsAndValues(t *testing.T) {
	wants := []struct{ line, replies string }{
		{"completion ", "bash zsh fish"},
		{"run --ipvs-scheduler w", "wrr wlc"},
		{"run --port-conflict=", "warn skip"},
		{"run --allowed-schedulers rr,w", "rr,wrr rr,wlc"},
		{"run --allowed-schedulers rr,wrr,w", `rr\,wrr\,wlc`}, // the only reply is quoted for the shell
		{"check --masquerade ", "all remote"},
		{"plan --nodeport-addresses all,pr", `all\,primary`},
		{"plan -o ", "table wide json yaml ipvsadm"},
		{"ports --output ", "table wide json yaml"},
		{"run --drain-timeout ", ""}, // no names of files
		{"run ", ""},
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	script, _, _ := kubeIPVS(t, "", "completion", "bash")
	for name, text := range map[string]string{"script": script, "kube-ipvs": fmt.Sprintf("#!/bin/sh\n%s=1 exec '%s' \"$@\"\n", asCommand, self)} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	args := []string{"--norc", "-c", tabs, "bash", filepath.Join(bin, "script")}
	for _, w := range wants {
		args = append(args, "kube-ipvs "+w.line)
	}
	cmd := exec.CommandContext(t.Context(), "bash", args...)
	cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	got := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	if err != nil || len(got) != len(wants) {
		t.Fatalf("%v:\n%s", err, out)
	}
	for i, w := range wants {
		have, want := strings.Fields(got[i]), strings.Fields(w.replies)
		slices.Sort(have)
		slices.Sort(want)
		if !slices.Equal(have, want) {
			t.Errorf("%q is completed by %q, want %q", w.line, have, want)
		}
	}
}

func TestCompletionIsForTheShellsThatItNames(t *testing.T) {
	for shell, header := range map[string]string{"bash": "# bash completion V2 for kube-ipvs", "zsh": "#compdef kube-ipvs", "fish": "# fish completion for kube-ipvs"} {
		script, stderr, code := kubeIPVS(t, "", "completion", shell)
		if code != 0 || stderr != "" || !strings.HasPrefix(script, header) {
			t.Errorf("%s: exit code %d, error %q, it begins with %.40q", shell, code, stderr, script)
		}
		if _, err := exec.LookPath(shell); err != nil {
			continue // no machine has all of them
		}
		cmd := exec.CommandContext(t.Context(), shell, "-n")
		cmd.Stdin = strings.NewReader(script)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", shell, err, out)
		}
	}
	for _, args := range [][]string{nil, {"powershell"}, {"bash", "zsh"}} {
		if _, stderr, code := kubeIPVS(t, "", append([]string{"completion"}, args...)...); code != 1 || !strings.Contains(stderr, "name one shell: bash, zsh, fish") {
			t.Errorf("%v: exit code %d, error %q", args, code, stderr)
		}
	}
}

// A flag that knows a few values only offers all of them, and none that it refuses.
func TestShellsAreOfferedTheChoicesOfFlags(t *testing.T) {
	offered := completions()
	newRun().Flags().VisitAll(func(f *pflag.Flag) {
		few, is := choices()[f.Name]
		if !is {
			return
		}
		var want []string
		for _, value := range few {
			if value != "" {
				want = append(want, value.(string))
			}
		}
		complete, known := offered[f.Name]
		if !known {
			t.Errorf("--%s offers nothing, and takes %q", f.Name, want)
			return
		}
		if got, _ := complete(nil, nil, ""); !slices.Equal(got, want) {
			t.Errorf("--%s offers %q, and takes %q", f.Name, got, want)
		}
	})
}
