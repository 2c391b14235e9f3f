package sync

import (
	"strconv"
	"strings"
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
