package result

import (
	"embed"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"text/template"
	"time"
)

// What is written by hand: the page around the results, advice, and why goals were not reached (why/KEY.md, with Verdict's keys).
//
//go:embed page.md.tmpl advice.md why
var written embed.FS

// upwards are links to the docs, as they are in files beside this one: on the page they are links beside it.
var upwards = regexp.MustCompile(`\]\((?:\.\./)+docs/`)

// hand is a text written by hand, "" if there is none.
func hand(name string) string {
	text, err := fs.ReadFile(written, name)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(upwards.ReplaceAllString(string(text), "]("))
}

// explanation is why a goal was not reached. What is undecided may have a text of its own, which explains nothing that was not reached.
func (v Verdict) explanation() string {
	if text := hand("why/" + v.Key + "-undecided.md"); text != "" && v.Outcome == Undecided {
		return text
	}
	return hand("why/" + v.Key + ".md")
}

// Markdown writes the verdicts and the tables.
func (r Run) Markdown(out io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "# Speed, measured on %s\n\n%s\n## Goals\n\n%s", r.Date.UTC().Format(time.DateOnly), r.facts(), r.goals())
	for _, s := range r.sections() {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n%s", s.Title, s.Before, s.Table)
	}
	if failed := r.failures(); failed != "" {
		fmt.Fprintf(&b, "\n## Not measured\n\n%s", failed)
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// Page writes docs/performance.md. Its pictures are in the folder pictures beside it.
func (r Run) Page(out io.Writer) error {
	pictures, err := r.Plots()
	if err != nil {
		return err
	}
	sections := r.sections()
	for i, s := range sections {
		if pictures[s.Picture] == nil {
			sections[i].Picture = ""
		}
	}
	why, err := explanations(r.Verdicts(), r.explanation)
	if err != nil {
		return err
	}
	page, err := template.New("page").Parse(hand("page.md.tmpl"))
	if err != nil {
		return fmt.Errorf("read the page's template: %w", err)
	}
	err = page.Execute(out, map[string]any{
		"Run": r, "Date": r.Date.UTC().Format(time.DateOnly), "Facts": r.facts(), "Commands": r.commands(), "Goals": r.goals(),
		"Explanations": why, "Controls": r.controls(), "Sections": sections, "Failures": r.failures(), "Advice": hand("advice.md"),
	})
	if err != nil {
		return fmt.Errorf("write the page: %w", err)
	}
	return nil
}

// WriteFolder writes results.json, table.md and the pictures.
func (r Run) WriteFolder(dir string) error {
	files, err := r.Plots()
	if err != nil {
		return err
	}
	var raw, table strings.Builder
	if err := r.encode(&raw); err != nil {
		return err
	}
	if err := r.Markdown(&table); err != nil {
		return err
	}
	files["results.json"], files["table.md"] = []byte(raw.String()), []byte(table.String())
	return writeAll(dir, files)
}

// runFile is the run beside its page: the values for whoever wants to see them, and what the page is written anew from.
const runFile = "performance.json"

// WriteDocs writes performance.md, its pictures and the run itself into the folder of the docs. Pictures of it that are not drawn any more go.
func (r Run) WriteDocs(docs string) error {
	plots, err := r.Plots()
	if err != nil {
		return err
	}
	var page, raw strings.Builder
	if err := r.Page(&page); err != nil {
		return err
	}
	if err := r.encode(&raw); err != nil {
		return err
	}
	pictures := filepath.Join(docs, "pictures")
	old, err := filepath.Glob(filepath.Join(pictures, "performance-*.svg"))
	if err != nil {
		return err
	}
	for _, file := range old {
		if plots[filepath.Base(file)] == nil {
			if err := os.Remove(file); err != nil {
				return err
			}
		}
	}
	if err := writeAll(pictures, plots); err != nil {
		return err
	}
	return writeAll(docs, map[string][]byte{"performance.md": []byte(page.String()), runFile: []byte(raw.String())})
}

func writeAll(dir string, files map[string][]byte) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := os.WriteFile(filepath.Join(dir, name), files[name], 0o644); err != nil {
			return err
		}
	}
	return nil
}

// facts are what a reader needs to know about the run, as a table.
func (r Run) facts() string {
	t := table{heads: []string{"", ""}}
	for _, f := range [][2]string{
		{"date", r.Date.UTC().Format(time.DateOnly)},
		{"machine", r.Machine},
		{"kernel", r.Kernel},
		{"took", took(r.Took)},
		{"Services", list(r.Sizes)},
		{"endpoints of each", positive(r.Endpoints)},
		{"addresses of the node", positive(r.Addresses)},
		{"pairs of the data path", positive(r.Pairs)},
		{"seed", fmt.Sprint(r.Seed)},
	} {
		if f[1] != "" {
			t.add(f[0], f[1])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.Versions)) {
		t.add(name, r.Versions[name])
	}
	return t.String()
}

func took(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
}

func positive(n int) string {
	if n == 0 {
		return ""
	}
	return thousands(fmt.Sprint(n))
}

func list(all []int) string {
	text := make([]string, len(all))
	for i, n := range all {
		text[i] = thousands(fmt.Sprint(n))
	}
	return strings.Join(text, "; ")
}

// commands are the command lines of the subjects, as a block of code.
func (r Run) commands() string {
	var b strings.Builder
	for _, subject := range slices.Sorted(maps.Keys(r.Commands)) {
		fmt.Fprintf(&b, "# %s\n%s\n", subject, strings.Join(r.Commands[subject], " "))
	}
	return b.String()
}

// goals is the table of the verdicts.
func (r Run) goals() string {
	t := table{heads: []string{"asked for", "measured", "outcome", "beside it, for each one"}}
	for _, v := range r.Verdicts() {
		var beside []string
		for _, f := range v.Findings {
			if f.Beside != "" {
				beside = append(beside, strings.TrimPrefix(f.Where+": "+f.Beside, ": "))
			}
		}
		t.add(v.Asked, v.measured(), v.outcome(), strings.Join(beside, "\n"))
	}
	return t.String()
}

// explanations are why goals were not reached, of those of which somebody wrote it.
func explanations(verdicts []Verdict, of func(Verdict) (string, error)) (string, error) {
	var b strings.Builder
	for _, v := range verdicts {
		why, err := of(v)
		if err != nil {
			return "", err
		}
		if why != "" && v.Outcome != Reached {
			fmt.Fprintf(&b, "\n**%s: %s.** %s\n", v.Asked, v.Outcome, why)
		}
	}
	return strings.TrimPrefix(b.String(), "\n"), nil
}

// failures are the samples without values: what was tried, and what came in between.
func (r Run) failures() string {
	t := table{heads: []string{"", "Services", "measure", "what came in between"}}
	for _, s := range r.Samples {
		if len(s.Values) == 0 {
			t.add(s.Subject, positive(s.Size), string(s.Measure), s.Note)
		}
	}
	return t.String()
}
