package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// commands are all that people see, run first, whose flags others share.
func commands() []*cobra.Command {
	root := newRoot()
	root.InitDefaultHelpFlag()
	var all []*cobra.Command
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		if cmd.Hidden {
			return
		}
		all = append(all, cmd)
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	walk(root)
	slices.SortStableFunc(all, func(a, b *cobra.Command) int {
		first := func(cmd *cobra.Command) int { return slices.Index([]string{"run", "kube-ipvs"}, cmd.Name()) }
		return first(b) - first(a)
	})
	return all
}

// words are those that call a command, without the program.
func words(cmd *cobra.Command) []string { return strings.Fields(cmd.CommandPath())[1:] }

// Each testdata/help/COMMAND.golden is what --help of a command prints; that of kube-ipvs itself is kube-ipvs.golden.
func TestHelpOfEveryCommand(t *testing.T) {
	var want []string
	for _, cmd := range commands() {
		name := strings.Join(words(cmd), "_")
		if name == "" {
			name = "kube-ipvs"
		}
		path := filepath.Join("testdata", "help", name+".golden")
		want = append(want, path)
		stdout, stderr, code := kubeIPVS(t, "", append(words(cmd), "--help")...)
		if code != 0 || stderr != "" {
			t.Errorf("%s --help: exit code %d, error %q", cmd.CommandPath(), code, stderr)
		}
		compareGolden(t, path, stdout)
		if cmd.Short == "" {
			t.Errorf("%s does not say in a line what it is for", cmd.CommandPath())
		}
	}
	have, err := filepath.Glob("testdata/help/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range have {
		if slices.Contains(want, path) {
			continue
		}
		if os.Getenv("UPDATE_GOLDEN") == "" || os.Remove(path) != nil {
			t.Errorf("%s is of no command", path)
		}
	}
}
