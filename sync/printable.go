package sync

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Printable writes what a terminal would take for a command, or would not show, as Go writes it: much of what is told to
// people was written by others, and manifests are not checked by an API server.
func Printable(text string) string {
	if !strings.ContainsFunc(text, func(r rune) bool { return !strconv.IsPrint(r) }) && utf8.ValidString(text) {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if strconv.IsPrint(r) {
			b.WriteRune(r)
			continue
		}
		quoted := strconv.QuoteRune(r)
		b.WriteString(quoted[1 : len(quoted)-1])
	}
	return b.String()
}

// PrintableJSON writes within a JSON document, which then means the same, what Printable would replace. Encoders escape what JSON
// itself forbids, and not what turns the direction of writing round (U+202E) or begins a command to a terminal (U+009B).
func PrintableJSON(document []byte) []byte {
	hidden := func(r rune) bool { return r != '\n' && !strconv.IsPrint(r) }
	if !bytes.ContainsFunc(document, hidden) {
		return document
	}
	var b bytes.Buffer
	for _, r := range string(document) {
		switch {
		case !hidden(r):
			b.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.Bytes()
}
