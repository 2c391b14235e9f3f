package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

const picturesDir = "../../docs/pictures"

// widest is how wide a picture may be, in points: on a phone its text has to be read without zooming.
const widest = 460

// drawn is the line that tells what a picture was made from, and what came out.
var drawn = regexp.MustCompile(`<!-- from ([0-9a-f]{64}), drawn ([0-9a-f]{64}) -->\n`)

// The pictures are drawn by make pictures, which needs graphviz; that they are those of their sources is seen without it.
func TestPicturesAreDrawnFromTheirSources(t *testing.T) {
	sources, err := filepath.Glob(filepath.Join(picturesDir, "*.dot"))
	if err != nil || len(sources) == 0 {
		t.Fatalf("no source of a picture is found: %v", err)
	}
	made := map[string]bool{}
	for _, source := range sources {
		picture := strings.TrimSuffix(source, ".dot") + ".svg"
		made[picture] = true
		dot, style := readFile(t, source), readFile(t, filepath.Join(picturesDir, "style.css"))
		if os.Getenv("UPDATE_PICTURES") != "" {
			draw(t, source, picture, dot, style)
		}
		svg := string(readFile(t, picture))
		sums := drawn.FindStringSubmatch(svg)
		switch {
		case sums == nil || sums[1] != sum(dot, style):
			t.Errorf("%s is not drawn from %s as it is: make pictures", picture, source)
		case sums[2] != sum([]byte(drawn.ReplaceAllString(svg, ""))):
			t.Errorf("%s was changed by hand: change %s, and make pictures", picture, source)
		}
		fitsEverywhere(t, picture, svg)
	}
	pictures, err := filepath.Glob(filepath.Join(picturesDir, "*.svg"))
	if err != nil {
		t.Fatal(err)
	}
	for _, picture := range pictures {
		switch {
		case made[picture]:
		case strings.HasPrefix(filepath.Base(picture), "performance-"): // e2e/bench/result draws them, and tests that
			fitsEverywhere(t, picture, string(readFile(t, picture)))
		default:
			t.Errorf("%s has no source", picture)
		}
	}
}

// fitsEverywhere requires that a picture needs nothing of the network and is narrow enough for a phone.
func fitsEverywhere(t *testing.T, picture, svg string) {
	t.Helper()
	for _, outside := range []string{"url(", "@import", "xlink:href", "<image"} {
		if strings.Contains(svg, outside) {
			t.Errorf("%s has %q: it has to stand by itself", picture, outside)
		}
	}
	size := regexp.MustCompile(`viewBox="[0-9.]+ [0-9.]+ ([0-9.]+) `).FindStringSubmatch(svg)
	if size == nil {
		t.Errorf("%s has no viewBox", picture)
		return
	}
	if width, err := strconv.ParseFloat(size[1], 64); err != nil || width > widest {
		t.Errorf("%s is %s points wide: %d is what a phone shows", picture, size[1], widest)
	}
}

// draw makes a picture with graphviz. What differs between its versions without need is taken out.
func draw(t *testing.T, source, picture string, dot, style []byte) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "dot", "-Tsvg", source).Output()
	if err != nil {
		t.Fatalf("dot %s: %v (it is in Debian's package graphviz)", source, err)
	}
	_, svg, found := bytes.Cut(out, []byte("<svg "))
	if !found {
		t.Fatalf("dot %s: no <svg> in what it wrote", source)
	}
	text := regexp.MustCompile(`<!--.*?-->\n?`).ReplaceAllString("<svg "+string(svg), "")
	text = strings.Replace(text, ">\n", ">\n<style>\n"+string(style)+"</style>\n", 1)
	text = fmt.Sprintf("<!-- from %s, drawn %s -->\n%s", sum(dot, style), sum([]byte(text)), text)
	if err := os.WriteFile(picture, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func sum(parts ...[]byte) string { return fmt.Sprintf("%x", sha256.Sum256(bytes.Join(parts, nil))) }

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}
