package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode"
)

// link is a link or a picture of Markdown, or of the HTML in it.
var link = regexp.MustCompile(`\]\(([^()\s]+)\)|(?:src|href)="([^"]+)"`)

func TestLinksOfTheDocsLeadSomewhere(t *testing.T) {
	root := filepath.Join("..", "..")
	seen := 0
	for path, text := range markdown(t, root) {
		for _, m := range link.FindAllStringSubmatch(withoutCode(text), -1) {
			target := m[1] + m[2]
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			seen++
			if why := deadEnd(path, target); why != "" {
				t.Errorf("%s links to %s: %s", path, target, why)
			}
		}
	}
	if seen < 30 {
		t.Errorf("only %d links were looked at: they are not found", seen)
	}
}

func TestDeadEndsAreFound(t *testing.T) {
	readme := filepath.Join("..", "..", "README.md")
	for target, dead := range map[string]bool{
		"docs/operations.md":        false,
		"docs/operations.md#ports":  false,
		"docs/operations.md#harbor": true,
		"docs/nothing.md":           true,
		"#nowhere":                  true,
		"docs":                      false,
	} {
		if why := deadEnd(readme, target); (why != "") != dead {
			t.Errorf("%s: %q", target, why)
		}
	}
}

// Whoever cannot see a picture reads what it says.
func TestPicturesOfTheDocsSayWhatTheyShow(t *testing.T) {
	picture := regexp.MustCompile(`!\[([^\]]*)\]\(`)
	seen := 0
	for path, text := range markdown(t, filepath.Join("..", "..")) {
		for _, m := range picture.FindAllStringSubmatch(withoutCode(text), -1) {
			seen++
			if len(m[1]) < 20 {
				t.Errorf("%s: a picture says %q", path, m[1])
			}
		}
	}
	if seen == 0 {
		t.Error("there are no pictures")
	}
}

// markdown are the texts below a directory.
func markdown(t *testing.T, root string) map[string]string {
	t.Helper()
	texts := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == ".git" || d.Name() == "out" || d.Name() == "bin" || d.Name() == "testdata"):
			return filepath.SkipDir
		case d.IsDir() || filepath.Ext(path) != ".md":
			return nil
		}
		texts[path] = string(readFile(t, path))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return texts
}

// deadEnd says why a link of a file leads nowhere; "" if it leads somewhere.
func deadEnd(from, target string) string {
	path, anchor, _ := strings.Cut(target, "#")
	file := from
	if path != "" {
		file = filepath.Join(filepath.Dir(from), filepath.FromSlash(path))
	}
	if _, err := os.Stat(file); err != nil {
		return err.Error()
	}
	if anchor == "" {
		return ""
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	if !anchors(string(text))[anchor] {
		return "there is no such heading"
	}
	return ""
}

// anchors are the names that GitHub gives to the headings of a text.
func anchors(text string) map[string]bool {
	all := map[string]bool{}
	for line := range strings.Lines(withoutCode(text)) {
		title := strings.TrimLeft(line, "#")
		if title == line || !strings.HasPrefix(title, " ") {
			continue
		}
		name := anchorOf(strings.TrimSpace(title))
		for n := 1; all[name]; n++ {
			name = anchorOf(strings.TrimSpace(title)) + "-" + strconv.Itoa(n)
		}
		all[name] = true
	}
	return all
}

func anchorOf(title string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
			return unicode.ToLower(r)
		case r == ' ':
			return '-'
		}
		return -1
	}, title)
}

// withoutCode is a text without its blocks of code.
func withoutCode(text string) string {
	return regexp.MustCompile("(?ms)^```.*?^```$").ReplaceAllString(text, "")
}
