package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/kube-ipvs/kube-ipvs/sync"
)

// Format is how a document is written (-o).
type Format string

// The formats. JSON and YAML are for scripts and have everything; the tables are for people.
const (
	Table Format = "table"
	Wide  Format = "wide"
	JSON  Format = "json"
	YAML  Format = "yaml"
)

// Formats lists them in the order of the help text.
func Formats() []Format { return []Format{Table, Wide, JSON, YAML} }

// ParseFormat reads -o.
func ParseFormat(text string) (Format, error) {
	for _, f := range Formats() {
		if text == string(f) {
			return f, nil
		}
	}
	return "", fmt.Errorf("-o %q: write table, wide, json or yaml", text)
}

// Tabler is a document that prints itself for people; wide has columns more.
type Tabler interface {
	Table(w io.Writer, wide bool) error
}

// Write writes a document in a format.
func Write(w io.Writer, f Format, document Tabler) error {
	switch f {
	case JSON:
		text, err := encodeJSON(document)
		if err != nil {
			return err
		}
		_, err = w.Write(sync.PrintableJSON(text))
		return err
	case YAML:
		text, err := encodeYAML(document)
		if err != nil {
			return err
		}
		_, err = w.Write(text)
		return err
	case Table, Wide:
		var b strings.Builder
		if err := document.Table(&b, f == Wide); err != nil {
			return err
		}
		_, err := io.WriteString(w, printableLines(b.String()))
		return err
	}
	return fmt.Errorf("unknown format %q", f)
}

func encodeJSON(document any) ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(document)
	return b.Bytes(), err
}

// encodeYAML writes a document in flow style, with escapes, if it has what a terminal would take for a command, or what the encoder
// refuses (U+007F).
func encodeYAML(document any) ([]byte, error) {
	hidden := func(r rune) bool { return r != '\n' && r != '\t' && !strconv.IsPrint(r) }
	if text, err := yaml.Marshal(document); err == nil && !bytes.ContainsFunc(text, hidden) {
		return text, nil
	}
	text, err := encodeJSON(document)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	for _, r := range string(text) {
		switch {
		case r == '\n' || strconv.IsPrint(r):
			b.WriteRune(r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r) // YAML has no halves of characters, as JSON has
		}
	}
	return b.Bytes(), nil
}

// printableLines makes text printable that has lines. It looks at finished tables, so that no cell can be forgotten: names in
// manifests are checked by nobody.
func printableLines(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		text, ended := strings.CutSuffix(line, "\n")
		b.WriteString(sync.Printable(text))
		if ended {
			b.WriteByte('\n')
		}
	}
	return b.String()
}
