package report

import (
	"strings"
	"testing"

	"github.com/charmbracelet/x/ansi"
	"pgregory.net/rapid"
)

// namesOnTerminals are names as tables show them, and how many places each takes on the screen: by Unicode's East Asian Width, where
// marks that combine take none.
func namesOnTerminals() map[string]struct {
	shown string
	width int
} {
	return map[string]struct {
		shown string
		width int
	}{
		"日本語":                  {"日本語", 6},
		"한국":                   {"한국", 4},
		"Ｆ!":                   {"Ｆ!", 3},
		"ﾊﾝ":                   {"ﾊﾝ", 2},
		"e\u0301a\u0323":       {"e\u0301a\u0323", 2},
		"n\u0308日\u0301":       {"n\u0308日\u0301", 3},
		"ü→✓":                  {"ü→✓", 3},
		"\U0001f600":           {"\U0001f600", 2},
		"\U0001f44d\U0001f3fd": {`\U0001f44d\U0001f3fd`, 20}, // a thumb and its colour: two places or four
		"\U0001f1e9\U0001f1ea": {"\U0001f1e9\U0001f1ea", 2},  // a flag: two letters of one place, or one of two
		"é\u2764\ufe0f":        {`\u00e9\u2764\ufe0f`, 18},   // a heart in colour: one place or two
		"a\u200bb":             {`a\u200bb`, 8},
		"日\ufeff":              {`日\ufeff`, 8},
		"\U000e0041\u202e":     {`\U000e0041\u202e`, 16},
	}
}

// Whoever reads a column has to find it below its heading, whatever things are called.
func TestColumnsStayAlignedWhateverThingsAreCalled(t *testing.T) {
	for name, c := range namesOnTerminals() {
		plain := strings.Repeat("z", c.width) // sorted behind what is ours, as the names are
		want := named(t, plain)
		for document, hostile := range named(t, name) {
			for _, f := range []Format{Table, Wide} {
				var got, straight strings.Builder
				if err := Write(&got, f, hostile); err != nil {
					t.Fatal(err)
				}
				if err := Write(&straight, f, want[document]); err != nil {
					t.Fatal(err)
				}
				shown := shownAs(got.String(), name, c.shown, plain)
				if !strings.Contains(got.String(), c.shown) && !strings.Contains(got.String(), name) {
					t.Errorf("%s, %s: %q is not in it, so nothing is shown:\n%s", document, f, name, got.String())
				}
				if shown != straight.String() {
					t.Errorf("%s, %s: with %q it is\n%s\nwant\n%s", document, f, name, shown, straight.String())
				}
			}
		}
	}
}

// shownAs replaces a name by a plain one that takes as many places. Sentences, which have no columns, may have it as it is.
func shownAs(table, name, shown, plain string) string {
	return strings.NewReplacer(shown, plain, name, plain).Replace(table)
}

// However a terminal counts, each cell of a column begins at the same place.
func TestEachCellOfAColumnBeginsAtTheSamePlace(t *testing.T) {
	letters := rapid.SampledFrom([]rune("az \t\n\x1b\u0301\u0323\u200b\u200d\ufe0f\u202e日Ｆﾊ한가\u1112\u1161\u11ab→ü✓❤☀#1\u20e3\U0001f600\U0001f468\U0001f469\U0001f3fd\U0001f1e9\U0001f1ea\U000e0041\U000e007fกำक्षि\u3164\u2800\ufffd"))
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.StringOfN(letters, 0, 8, -1)
		rows := rapid.SliceOfN(rapid.SliceOfN(word, 3, 3), 2, 4).Draw(t, "rows")
		var b strings.Builder
		mark := 0
		for i := range rows { // a last column of marks
			rows[i] = append(rows[i], "|")
		}
		Align(&b, 2, rows)
		for i, line := range strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n") {
			text, marked := strings.CutSuffix(line, "|")
			wide := ansi.StringWidth(text)
			if i == 0 {
				mark = wide
			}
			if !marked || wide != mark || ansi.StringWidthWc(text) != mark {
				t.Errorf("line %d of %d ends at %d or %d, and the first one at %d:\n%s", i, len(rows), wide, ansi.StringWidthWc(text), mark, b.String())
			}
		}
	})
}
