package top

import (
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
)

// View is the screen.
func (m *model) View() tea.View {
	v := tea.NewView(strings.Join(m.screen(), "\n"))
	v.AltScreen = true
	return v
}

// screen is the lines of the screen, no more than it has, none wider than it is.
func (m *model) screen() []string {
	if m.width <= 0 || m.height <= 0 {
		return nil
	}
	if m.help {
		return m.helpScreen()
	}
	longest, words := m.longest()
	columns, name := fit(m.width, m.o.Sort, longest, words)
	lines := []string{
		m.styles.title.Render(join(m.width, "  ", m.header())),
		join(m.width, "   ", ranked(m.shown.Total.words())),
		m.message(),
		m.titles(columns, name),
	}
	for i := m.top; i < min(m.top+m.page(), len(m.lines)); i++ {
		lines = append(lines, m.row(i, columns, name))
	}
	if len(m.lines) == 0 {
		lines = append(lines, cut(strings.Repeat(" ", margin)+m.nothing(), m.width))
	}
	for len(lines) < m.height-1 {
		lines = append(lines, "")
	}
	lines = append(lines[:min(len(lines), m.height-1)], m.styles.faint.Render(join(m.width, "  ", m.keys())))
	return lines[:m.height]
}

// part is of a line that may be too long: parts of the highest rank go first.
type part struct {
	text string
	rank int
}

// ranked are parts whose order is their rank.
func ranked(texts []string) []part {
	var parts []part
	for i, text := range texts {
		parts = append(parts, part{text, i})
	}
	return parts
}

// join makes a line of the parts that fit.
func join(width int, between string, parts []part) string {
	for {
		var texts []string
		worst := 0
		for i, p := range parts {
			texts = append(texts, p.text)
			if p.rank > parts[worst].rank {
				worst = i
			}
		}
		text := strings.Join(texts, between)
		if len(text) <= width || len(parts) <= 1 {
			return cut(text, width)
		}
		parts = append(parts[:worst:worst], parts[worst+1:]...)
	}
}

func (m *model) header() []part {
	parts := []part{{"kube-ipvs top", 5}, {plain(m.now.Node), 2}, {m.clock(m.now.Time), 3}}
	if m.paused {
		parts = append(parts, part{"PAUSED", 0})
	}
	what := part{m.shown.what(), 4}
	if m.shown.FromKernel {
		what.rank = 1
	}
	return append(parts, what, part{"every " + m.o.Interval.String(), 7}, part{"by " + m.o.Sort.words(), 6})
}

func (m *model) clock(t time.Time) string {
	if m.o.Location != nil {
		return t.In(m.o.Location).Format(time.TimeOnly)
	}
	return t.Local().Format(time.TimeOnly)
}

// message is what has to be said: an error, the filter, and which lines of how many are on the screen.
func (m *model) message() string {
	where := ""
	if n := len(m.lines); n > m.page() {
		where = grouped(m.top+1) + "-" + grouped(min(m.top+m.page(), n)) + " of " + grouped(n)
	}
	text, style := "", m.styles.normal
	switch {
	case m.typing:
		text = "filter: " + plain(m.o.Filter) + "_"
	case m.err != nil:
		text, style = "error, data of "+m.clock(m.now.Time)+": "+plain(m.err.Error()), m.styles.bad
	case m.o.Filter != "":
		text = "filter: " + plain(m.o.Filter) + " (esc clears it)"
	}
	if len(text)+gap+len(where) > m.width {
		return style.Render(cut(text, m.width))
	}
	return style.Render(text) + right(where, m.width-len(text))
}

func (m *model) titles(columns []column, width int) string {
	first := "SERVICE PORT"
	if m.shown.FromKernel {
		first = "VIRTUAL SERVER"
	}
	title := func(text string, sorted bool) string {
		if sorted {
			return m.styles.sorted.Render(text)
		}
		return m.styles.heading.Render(text)
	}
	text := strings.Repeat(" ", min(margin, m.width)) + title(left(cut(first, width), width), m.o.Sort == ByName)
	for _, c := range columns {
		text += strings.Repeat(" ", gap) + title(c.pad(c.title, c.width), c.sort != "" && c.sort == m.o.Sort)
	}
	return text
}

// row is one line of the table. What stands in it stands there in words; colours repeat them.
func (m *model) row(i int, columns []column, width int) string {
	l := &m.lines[i]
	first, style := cutMiddle(name(l.port), width), m.styles.normal
	cell := func(c *column) string { return c.port(l.port) }
	switch e := l.endpoint; {
	case l.note != "":
		first = cut(l.note, m.width-margin)
		cell = func(*column) string { return "" }
	case e != nil:
		first = endpointName(l.port, e, has(columns, stateTitle), width)
		cell = func(c *column) string { return c.endpoint(e) }
		if style = m.styles.endpoint; mark(e) != "" {
			style = m.styles.warn
		}
	}
	text := "  "
	if i == m.cursor {
		text = "> "
	}
	text += left(first, width)
	for j := range columns {
		text += strings.Repeat(" ", gap) + columns[j].pad(cell(&columns[j]), columns[j].width)
	}
	text = cut(text, m.width)
	if i == m.cursor {
		return m.styles.selected.Render(left(text, m.width))
	}
	return style.Render(strings.TrimRight(text, " "))
}

// longest is the width that names would like, and that of the words in the last column.
func (m *model) longest() (names, words int) {
	names = len("VIRTUAL SERVER")
	for i := range m.lines {
		switch l := &m.lines[i]; {
		case l.endpoint != nil:
			names, words = max(names, len(endpointName(l.port, l.endpoint, true, enough))), max(words, len(state(l.endpoint)))
		default:
			names, words = max(names, len(name(l.port))), max(words, len(endpointsOf(l.port)))
		}
	}
	return names, words
}

// nothing says why the table is empty.
func (m *model) nothing() string {
	switch {
	case m.o.Filter != "":
		return "none of " + grouped(m.shown.Total.Ports) + " matches the filter"
	case m.shown.FromKernel:
		return "the kernel has no virtual servers"
	}
	return "no Service is served on this node"
}

// keys are what one can do now.
func (m *model) keys() []part {
	if m.typing {
		return ranked([]string{"type to filter", "esc clears", "enter keeps"})
	}
	pause := "p pause"
	if m.paused {
		pause = "p go on"
	}
	return []part{{"c a b n sort", 4}, {"enter endpoints", 2}, {"/ filter", 3}, {pause, 5}, {"? help", 0}, {"q quit", 1}}
}
