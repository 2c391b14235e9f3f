package kube

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// document is one YAML or JSON document of a file.
type document struct {
	// line is where its content starts in the file, from 1.
	line int
	text []byte
}

// splitDocuments cuts a file at its document markers, and a file of several JSON objects between them. Documents
// without content (blanks, comments, directives) are left out.
func splitDocuments(data []byte) []document {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	var documents []document
	at := document{line: 1}
	flush := func() {
		if d := at.trimmed(); len(d.text) > 0 {
			documents = append(documents, splitJSON(d)...)
		}
	}
	start, end := 0, 0
	line := 0
	for text := range bytes.Lines(data) {
		line++
		begin := end
		end += len(text)
		// A marker at the beginning of a line is one wherever it stands: block scalars are indented.
		switch {
		case isMarker(text, "---"):
			flush()
			at, start = document{line: line}, begin
		case isMarker(text, "..."):
			flush()
			at, start = document{line: line + 1}, end
		}
		at.text = data[start:end]
	}
	flush()
	return documents
}

func isMarker(line []byte, marker string) bool {
	rest, found := bytes.CutPrefix(line, []byte(marker))
	return found && (len(rest) == 0 || strings.ContainsRune(" \t\r\n", rune(rest[0])))
}

// trimmed leaves out the marker and the comments, directives and blank lines before the content.
func (d document) trimmed() document {
	d.text = withoutMarker(d.text)
	for len(d.text) > 0 {
		line, rest, _ := bytes.Cut(d.text, []byte("\n"))
		if line = bytes.TrimSpace(line); len(line) > 0 && line[0] != '#' && line[0] != '%' {
			break
		}
		d.line++
		d.text = rest
	}
	return d
}

// splitJSON divides a document that is several JSON objects, one after the other. Anything else is one document.
func splitJSON(d document) []document {
	if !isFlow(d.text) {
		return []document{d}
	}
	var objects []document
	decoder := json.NewDecoder(bytes.NewReader(d.text))
	for decoder.More() {
		var object json.RawMessage
		if decoder.Decode(&object) != nil {
			return []document{d} // Not JSON: YAML in flow style begins with { too.
		}
		begins := int(decoder.InputOffset()) - len(object)
		objects = append(objects, document{line: d.line + bytes.Count(d.text[:begins], []byte("\n")), text: object})
	}
	return objects
}

func isFlow(text []byte) bool {
	text = bytes.TrimLeft(text, " \t\r\n")
	return len(text) > 0 && text[0] == '{'
}

func withoutMarker(text []byte) []byte {
	if isMarker(text, "---") {
		return text[len("---"):]
	}
	return text
}

// toJSON converts a document. duplicate, if not nil, says that a field stands in it twice: the last one is used.
func (d document) toJSON() (raw []byte, duplicate, err error) {
	if json.Valid(d.text) {
		return d.text, nil, nil // JSON is not quite YAML: the parser refuses the escapes \/ and \ud83d\ude00.
	}
	if isFlow(d.text) {
		// The parser stops behind the brace that closes the root, whatever follows. Within a list it does not.
		within := slices.Concat(bytes.Repeat([]byte("\n"), d.line-1), []byte("- "), d.text)
		if _, err := yaml.YAMLToJSON(within); err != nil {
			return nil, nil, oneLine(err)
		}
	}
	if raw, err = yaml.YAMLToJSONStrict(d.text); err == nil {
		return raw, nil, nil
	}
	// The parser counts lines from the beginning of what it is given: give it those before.
	padded := slices.Concat(bytes.Repeat([]byte("\n"), d.line-1), d.text)
	_, strict := yaml.YAMLToJSONStrict(padded)
	if raw, err = yaml.YAMLToJSON(padded); err != nil {
		return nil, nil, oneLine(err)
	}
	return raw, oneLine(strict), nil
}

// oneLine makes a sentence of the YAML parser's paragraph.
func oneLine(err error) error {
	if err == nil {
		return nil
	}
	text := strings.TrimPrefix(err.Error(), "yaml: unmarshal errors:\n")
	return errors.New(strings.Join(strings.Fields(text), " "))
}
