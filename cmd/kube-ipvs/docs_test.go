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

// guides are the texts that tell people what to type, by their files.
func guides(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	files = append(files, "../../README.md", filepath.Join(deployDir, "helm", "kube-ipvs", "templates", "NOTES.txt"))
	texts := map[string]string{"run --help": newRun().Example}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		texts[file] = string(text)
	}
	return texts
}

// A command of the guides that the agent refuses stops a migration in the middle.
func TestAgentKnowsTheCommandLinesOfTheDocs(t *testing.T) {
	// Flags and their values; what follows in prose has no dash.
	command := regexp.MustCompile("(?m)(?:^|[` ])(?:kube-ipvs|agent) ((?:run|check|plan|cleanup)(?: +-[^\\s`]+(?: +[^\\s`#-][^\\s`]*)?)+)")
	seen := map[string]int{}
	for file, text := range guides(t) {
		for _, m := range command.FindAllStringSubmatch(text, -1) {
			args := strings.Fields(m[1])
			seen[args[0]]++
			// A Pod has the node's host name, which is not always that of its Node object.
			if args[0] == "check" && strings.Contains(m[1], "/etc/kube-ipvs/config.yaml") && !strings.Contains(m[1], "--hostname-override=$NODE") {
				t.Errorf("%s: kube-ipvs %s: it does not know its node", file, m[1])
			}
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

// Which Pod daemonset/NAME means is nobody's choice, and what is asked of is one node's; a kubelet may not list Services.
func TestTheDocsMeanOneNodeAndAnAccountThatMay(t *testing.T) {
	vague := regexp.MustCompile(`(?:exec|logs) (?:daemonset|ds)/`)
	for file, text := range guides(t) {
		if found := vague.FindString(text); found != "" {
			t.Errorf("%s: %s takes any node's Pod", file, found)
		}
		if strings.Contains(text, "kubelet.conf") {
			t.Errorf("%s: a kubelet's account may not list Services", file)
		}
	}
}

// A distribution's Go may be older than what go.mod wants, and too old to fetch it.
func TestTheDocsNameTheGoThatIsNeeded(t *testing.T) {
	mod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	want := "Go " + regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(string(mod))[1]
	for _, file := range []string{"../../README.md", "../../CONTRIBUTING.md"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), want) {
			t.Errorf("%s does not name %s", file, want)
		}
	}
}
