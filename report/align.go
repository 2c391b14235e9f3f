package report

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"

	"github.com/kube-ipvs/kube-ipvs/sync"
)

// Align writes rows as lines whose cells stand below each other, gap apart. What others wrote is made printable on the way.
func Align(w io.Writer, gap int, rows [][]string) {
	type cell struct {
		text  string
		width int
	}
	var widths []int
	table := make([][]cell, len(rows))
	for i, row := range rows {
		for j, text := range row {
			text, width := onTerminal(text)
			table[i] = append(table[i], cell{text, width})
			if j == len(widths) {
				widths = append(widths, 0)
			}
			widths[j] = max(widths[j], width)
		}
	}
	for _, row := range table {
		var line strings.Builder
		for j, c := range row {
			line.WriteString(c.text)
			line.WriteString(strings.Repeat(" ", widths[j]-c.width+gap))
		}
		fmt.Fprintln(w, strings.TrimRight(line.String(), " "))
	}
}

// onTerminal is text as it is shown in a cell, and how many places of the screen it takes: letters of Asia take two, accents none. Where
// several characters make one picture, terminals do not agree how wide that is, so those are escaped.
func onTerminal(text string) (shown string, width int) {
	text = sync.Printable(text)
	if !strings.ContainsFunc(text, func(r rune) bool { return r >= utf8.RuneSelf }) {
		return text, len(text)
	}
	// A mark at the beginning of a cell joins the space before it.
	if width = ansi.StringWidthWc(text); width == ansi.StringWidth(text) && 1+width == ansi.StringWidth(" "+text) {
		return text, width
	}
	var b strings.Builder
	for _, r := range text {
		if r < utf8.RuneSelf {
			b.WriteRune(r)
			continue
		}
		quoted := strconv.QuoteRuneToASCII(r)
		b.WriteString(quoted[1 : len(quoted)-1])
	}
	return b.String(), b.Len()
}
