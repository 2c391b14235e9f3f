package main

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// A command of the guides that the agent refuses stops a migration in the middle.
func TestAgentKnowsTheCommandLinesOfTheDocs(t *testing.T) {
	files, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	files = append(files, "../../README.md", filepath.Join(deployDir, "helm", "kube-ipvs", "templates", "NOTES.txt"))
	// Flags and their values; what follows in prose has no dash.
	command := regexp.MustCompile("(?m)(?:^|[` ])(?:kube-ipvs|agent) ((?:run|check|plan|cleanup)(?: +-[^\\s`]+(?: +[^\\s`#-][^\\s`]*)?)+)")
	seen := map[string]int{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range command.FindAllStringSubmatch(string(text), -1) {
			args := strings.Fields(m[1])
			seen[args[0]]++
			if err := knows(args); err != nil && !errors.Is(err, pflag.ErrHelp) {
				t.Errorf("%s: kube-ipvs %s: %v", file, m[1], err)
			}
		}
	}
	for _, name := range []string{"run", "check", "plan", "cleanup"} {
		if seen[name] == 0 {
			t.Errorf("no command line of %s is in the docs: %v", name, seen)
		}
	}
}
