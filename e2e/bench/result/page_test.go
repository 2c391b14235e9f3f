package result

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// testdata/docs is what people see of the run in it. UPDATE_GOLDEN=1 writes it: read the page and look at the pictures, in both schemes.
func TestThePageOfARunIsAlwaysTheSame(t *testing.T) {
	if got := isGenerated(t, "testdata/docs"); len(got) < 7 {
		t.Errorf("there are only %v", slices.Sorted(maps.Keys(got)))
	}
}

// The page of the docs is that of its run, though somebody changed a text, an explanation or a goal since. UPDATE_GOLDEN=1 writes it too.
func TestTheDocsAreGeneratedFromTheirRun(t *testing.T) {
	const docs = "../../../docs"
	if _, err := os.Stat(filepath.Join(docs, runFile)); errors.Is(err, fs.ErrNotExist) {
		for file := range files(t, docs) {
			if strings.HasPrefix(filepath.Base(file), "performance") {
				t.Errorf("%s has no run that it was made of", file)
			}
		}
		return
	}
	isGenerated(t, docs)
}

// isGenerated requires that what is in a folder of the run's page is what WriteDocs writes.
func isGenerated(t *testing.T, docs string) map[string]string {
	t.Helper()
	run := readRun(t, filepath.Join(docs, runFile))
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := run.WriteDocs(docs); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	if err := run.WriteDocs(dir); err != nil {
		t.Fatal(err)
	}
	want, got := files(t, docs), files(t, dir)
	maps.DeleteFunc(want, func(file, _ string) bool { return !strings.HasPrefix(filepath.Base(file), "performance") })
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("UPDATE_GOLDEN=1 writes %s (-file +now):\n%s", docs, diff)
	}
	return got
}

func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		all[strings.TrimPrefix(path, dir)] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestAWrittenRunIsReadAgain(t *testing.T) {
	want, dir := sampleRun(t), t.TempDir()
	if err := want.WriteFolder(dir); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(filepath.Join(dir, "results.json"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got, err := Read(f)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, file := range []string{"table.md", "performance-change.svg"} {
		if info, err := os.Stat(filepath.Join(dir, file)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// A run in which everything failed has a page without empty sections and without pictures that are not there.
func TestAnEmptyRunHasAPage(t *testing.T) {
	var page strings.Builder
	run := Run{Samples: []Sample{{Subject: KubeIPVS, Measure: Cold, Size: 100, Unit: Seconds, Note: "it | ended\n<b>early</b>"}}}
	if err := run.Page(&page); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"![", "### Cold start", "NaN", "Inf", "| reached", "<b>", "<no value>"} {
		if strings.Contains(page.String(), bad) {
			t.Errorf("the page has %q", bad)
		}
	}
	if want := `it \| ended<br>&lt;b>early&lt;/b>`; !strings.Contains(page.String(), want) {
		t.Errorf("the page has no %s", want)
	}
	if plots, err := run.Plots(); err != nil || len(plots) != 0 {
		t.Errorf("%d pictures of nothing, %v", len(plots), err)
	}
}

func TestPicturesThatAreNotDrawnAnyMoreGo(t *testing.T) {
	dir := t.TempDir()
	if err := sampleRun(t).WriteDocs(dir); err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(dir, "pictures", "house.svg")
	if err := os.WriteFile(other, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := (Run{}).WriteDocs(dir); err != nil {
		t.Fatal(err)
	}
	if left := files(t, filepath.Join(dir, "pictures")); len(left) != 1 {
		t.Errorf("left: %v", slices.Sorted(maps.Keys(left)))
	}
}

// A picture stands by itself, in both colour schemes, on a phone, and no text of it is on another.
func TestPicturesAreReadable(t *testing.T) {
	plots, err := sampleRun(t).Plots()
	if err != nil || len(plots) != 5 {
		t.Fatalf("%d pictures, %v", len(plots), err)
	}
	for name, svg := range plots {
		for _, bad := range []string{"url(", "@import", "href", "<image", "<script", "NaN", "Inf", "ZgotmplZ"} {
			if bytes.Contains(svg, []byte(bad)) {
				t.Errorf("%s has %q", name, bad)
			}
		}
		if !bytes.Contains(svg, []byte("prefers-color-scheme: dark")) {
			t.Errorf("%s has one colour scheme", name)
		}
		texts := textsOf(t, name, svg)
		if len(texts) < 8 {
			t.Errorf("%s has only %v", name, texts)
		}
		for i, a := range texts {
			if a.x0 < 0 || a.x1 > plotWidth {
				t.Errorf("%s: %q is cut off", name, a.text)
			}
			for _, b := range texts[:i] {
				if a.x0 < b.x1 && b.x0 < a.x1 && a.y0 < b.y1 && b.y0 < a.y1 {
					t.Errorf("%s: %q is on %q", name, a.text, b.text)
				}
			}
		}
	}
}

type box struct {
	text           string
	x0, x1, y0, y1 float64
}

// textsOf are the texts of a picture, where a browser with wide letters has them.
func textsOf(t *testing.T, name string, svg []byte) []box {
	t.Helper()
	var all []box
	var open xml.StartElement
	d := xml.NewDecoder(bytes.NewReader(svg))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("%s is not XML: %v", name, err)
		}
		switch token := token.(type) {
		case xml.StartElement:
			open = token.Copy()
		case xml.EndElement:
			open = xml.StartElement{}
		case xml.CharData:
			if open.Name.Local != "text" {
				continue
			}
			attr := func(name string) string {
				i := slices.IndexFunc(open.Attr, func(a xml.Attr) bool { return a.Name.Local == name })
				if i < 0 {
					return ""
				}
				return open.Attr[i].Value
			}
			number := func(name string) float64 { v, _ := strconv.ParseFloat(attr(name), 64); return v }
			letter := 6.0
			if attr("class") == "title" {
				letter = 8.0
			}
			wide, x, y := letter*float64(len([]rune(string(token)))), number("x")+number("dx"), number("y")+number("dy")
			switch attr("class") {
			case "tick":
				x -= wide
			case "group":
				x -= wide / 2
			}
			all = append(all, box{string(token), x, x + wide, y - 9, y + 2})
		}
	}
}

func TestNamesOfSubjectsAreEscaped(t *testing.T) {
	run := Run{Samples: []Sample{{Subject: `<script>"&`, Measure: Cold, Size: 1, Unit: Seconds, Values: []float64{1}}}}
	plots, err := run.Plots()
	if err != nil || len(plots) != 1 {
		t.Fatalf("%d pictures, %v", len(plots), err)
	}
	textsOf(t, "cold", plots["performance-cold.svg"])
	if bytes.Contains(plots["performance-cold.svg"], []byte("<script")) {
		t.Error("a name is markup")
	}
}

func TestAxesHoldWhatIsOnThem(t *testing.T) {
	for _, c := range []struct {
		log       bool
		low, high float64
		unit      Unit
	}{
		{true, 0.0069, 180, Seconds},
		{true, 1, 1, Seconds},
		{true, 0.0031, 0.0032, Seconds},
		{true, 1e-6, 1e4, Seconds},
		{false, 0, 123 << 20, Bytes},
		{false, 0, 0, Bytes},
		{false, 0.97, 1.03, Ratio},
		{false, 0.2, 7, Ratio},
	} {
		a := newAxis(chart{log: c.log, unit: c.unit}, c.low, c.high)
		a.bottom = 250
		if a.low > c.low || a.high < c.high || a.low >= a.high {
			t.Errorf("%v: from %g to %g", c, a.low, a.high)
		}
		if n := len(a.ticks); n < 2 || n > 12 {
			t.Errorf("%v: ticks at %v", c, a.ticks)
		}
		seen := map[string]bool{}
		for _, v := range a.ticks {
			if mark := c.unit.mark(v); seen[mark] || !regexp.MustCompile(`^[0-9.e+-]+( [µm]?s| MiB)?$`).MatchString(mark) {
				t.Errorf("%v: a tick says %q", c, mark)
			} else {
				seen[mark] = true
			}
		}
	}
}
