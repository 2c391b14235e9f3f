package top

// helpText is what the keys do and the columns mean, in lines that a narrow screen has place for.
func helpText() []string {
	return []string{
		"up down j k  move, also page up/down",
		"enter space  endpoints of a Service",
		"c  sort by new connections a second",
		"a  sort by active connections",
		"b  sort by bytes a second, in and out",
		"n  sort by name",
		"/  filter as you type; esc clears",
		"p  pause, and go on",
		"g G  first and last line",
		"q  quit",
		"",
		"k, M, G are thousand, million, ...",
		"-  not known yet: it takes two looks",
		"IN   from clients, B/S bytes a second",
		"OUT  to clients, PKT/S packets a second",
		"ACTIVE    connections that are open",
		"INACTIVE  closing ones, and UDP flows",
		"draining  gets no new connections",
	}
}

// helpScreen is the help, as much of it as fits.
func (m *model) helpScreen() []string {
	text := helpText()
	m.helpTop = max(min(m.helpTop, len(text)-m.height+1), 0)
	end := min(m.helpTop+m.height-1, len(text))
	var lines []string
	for _, l := range text[m.helpTop:end] {
		lines = append(lines, cut(l, m.width))
	}
	for len(lines) < m.height-1 {
		lines = append(lines, "")
	}
	hint := "any key: back"
	if end < len(text) {
		hint = "down: more   any other key: back"
	}
	return append(lines, m.styles.faint.Render(cut(hint, m.width)))
}
