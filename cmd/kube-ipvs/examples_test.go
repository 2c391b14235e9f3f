package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"

	"github.com/kube-ipvs/kube-ipvs/sync"
)

// block is a block of code: its language, and what is in it.
type block struct{ language, code string }

// section is what stands below one heading of the second level of a text; the one before the first heading has no title.
type section struct {
	title  string
	blocks []block
}

// sections takes a text apart.
func sections(text string) []section {
	fence := regexp.MustCompile("(?ms)^```([a-z]*)\n(.*?)^```$")
	var all []section
	for part := range strings.SplitSeq("\n"+text, "\n## ") {
		title, _, _ := strings.Cut(part, "\n")
		s := section{title: title}
		for _, m := range fence.FindAllStringSubmatch(part, -1) {
			s.blocks = append(s.blocks, block{language: m[1], code: m[2]})
		}
		all = append(all, s)
	}
	return all
}

// example is what the YAML of a section says: objects of Kubernetes, and a configuration of the agent.
type example struct {
	objects []string
	node    string // the Node among the objects, "" if there is none
	config  string
}

// A field that is misspelt in the docs is misspelt on somebody's cluster next.
func TestYAMLOfTheDocsIsStrictlyRight(t *testing.T) {
	seen := 0
	for file, text := range guides(t) {
		for _, s := range sections(text) {
			for _, b := range s.blocks {
				if b.language == "yaml" {
					seen++
					(&example{}).add(t, file+", "+s.title, b.code)
				}
			}
		}
	}
	if seen < 10 {
		t.Errorf("only %d blocks were looked at: they are not found", seen)
	}
}

// add decodes a block, by what it is.
func (e *example) add(t *testing.T, where, code string) {
	t.Helper()
	if strings.HasPrefix(code, "# config.yaml\n") {
		e.config += code
		path := filepath.Join(t.TempDir(), "config.yaml")
		writeFile(t, path, code)
		if err := loadConfig(path, newRun().Flags()); err != nil {
			t.Errorf("%s: %v", where, err)
		}
		return
	}
	for document := range strings.SplitSeq(code, "\n---\n") {
		var kind struct{ Kind string }
		if err := yaml.Unmarshal([]byte(document), &kind); err != nil {
			t.Errorf("%s: %v", where, err)
			continue
		}
		into, ours := map[string]any{
			"Service": &corev1.Service{}, "Node": &corev1.Node{}, "EndpointSlice": &discoveryv1.EndpointSlice{},
		}[kind.Kind]
		if !ours {
			into = &map[string]any{}
		}
		if err := decodeStrictly(document, into); err != nil {
			t.Errorf("%s: %v", where, err)
			continue
		}
		if ours {
			e.objects = append(e.objects, document)
		}
		if kind.Kind == "Node" {
			e.node = document
		}
	}
}

// decodeStrictly refuses fields that there are not, of another case, or twice, as an API server does that is asked to.
func decodeStrictly(document string, into any) error {
	raw, err := yaml.YAMLToJSONStrict([]byte(document))
	if err != nil {
		return err
	}
	faults, err := kjson.UnmarshalStrict(raw, into)
	return errors.Join(append(faults, err)...)
}

// Each example of the guides is planned: without a problem, and where its output stands in the text, that is what comes out.
func TestExamplesOfTheDocsArePlanned(t *testing.T) {
	planned, compared := 0, 0
	for _, name := range []string{"guide.md", "recipes.md"} {
		text := string(readFile(t, filepath.Join("..", "..", "docs", name)))
		node := ""
		for _, s := range sections(text) {
			e := &example{}
			for _, b := range s.blocks {
				if b.language == "yaml" {
					e.add(t, name+", "+s.title, b.code)
				}
			}
			if e.node == "" && node != "" {
				e.objects = append(e.objects, node)
			} else if e.node != "" {
				node = e.node
			}
			if len(e.objects) < 2 {
				continue // no Service
			}
			planned++
			t.Run(name+", "+s.title, func(t *testing.T) { compared += e.plan(t, s) })
		}
	}
	if planned < 8 || compared < 4 {
		t.Errorf("%d sections were planned, and %d outputs compared: they are not found", planned, compared)
	}
}

// plan runs the commands of a section, or a plain one where there is none, and returns how many outputs were compared.
func (e *example) plan(t *testing.T, s section) int {
	t.Helper()
	dir := t.TempDir()
	manifests, config := filepath.Join(dir, "manifests.yaml"), filepath.Join(dir, "config.yaml")
	writeFile(t, manifests, strings.Join(e.objects, "\n---\n"))
	writeFile(t, config, e.config)
	command := regexp.MustCompile(`(?s)^kube-ipvs (plan .*)$`)
	ran, compared := false, 0
	for i, b := range s.blocks {
		m := command.FindStringSubmatch(strings.ReplaceAll(strings.TrimSpace(b.code), "\\\n", " "))
		if b.language != "sh" || m == nil {
			continue
		}
		args := strings.Fields(m[1])
		for j := range args[:len(args)-1] {
			switch args[j] {
			case "--manifests":
				args[j+1] = manifests
			case "--config":
				args[j+1] = config
			}
		}
		out := planWithout(t, args)
		ran = true
		if i+1 < len(s.blocks) && s.blocks[i+1].language == "" {
			compared++
			if diff := cmp.Diff(strings.Split(s.blocks[i+1].code, "\n"), strings.Split(out, "\n")); diff != "" {
				t.Errorf("what the text says comes out (-text +plan):\n%s", diff)
			}
		}
	}
	if !ran {
		planWithout(t, []string{"plan", "--manifests", manifests, "--config", config, "--node-name", "node1"})
	}
	return compared
}

// planWithout runs plan and requires that it has nothing to complain of.
func planWithout(t *testing.T, args []string) string {
	t.Helper()
	var stdout, stderr strings.Builder
	if code := execute(t.Context(), args, strings.NewReader(""), &stdout, &stderr); code != 0 || stderr.Len() > 0 {
		t.Errorf("kube-ipvs %s: exit code %d\n%s", strings.Join(args, " "), code, &stderr)
	}
	return stdout.String()
}

// Whoever reads a reason in a metric or in the log looks for it there.
func TestEveryReasonIsInTroubleshooting(t *testing.T) {
	text := string(readFile(t, filepath.Join("..", "..", "docs", "troubleshooting.md")))
	for _, reason := range sync.Reasons() {
		if !strings.Contains(text, "\n| `"+string(reason)+"` |") {
			t.Errorf("docs/troubleshooting.md has no row for reason %q", reason)
		}
	}
}

// What the docs say is shown by a test is only as good as the test: those of the lab show nothing of the agent.
func TestTestsThatTheDocsNameExist(t *testing.T) {
	root := filepath.Join("..", "..")
	tests := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && path == filepath.Join(root, "e2e", "lab") {
			return filepath.SkipDir
		}
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		for _, m := range declared.FindAllSubmatch(readFile(t, path), -1) {
			tests[string(m[1])] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for path, text := range markdown(t, root) {
		for _, m := range regexp.MustCompile("`(Test\\w+)`").FindAllStringSubmatch(text, -1) {
			seen++
			if !tests[m[1]] {
				t.Errorf("%s names %s, which there is not outside of the lab", path, m[1])
			}
		}
	}
	if seen < 10 {
		t.Errorf("only %d names of tests were found", seen)
	}
}

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
