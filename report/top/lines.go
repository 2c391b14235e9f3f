package top

// line is one of the table: a Service port, one of its endpoints, or a note in their place.
type line struct {
	port     *Port
	endpoint *Endpoint
	note     string
}

// lineKey is what a line is known by when others come and go around it.
type lineKey struct {
	key
	address string // of an endpoint
	note    bool
}

func (l *line) key() lineKey {
	k := lineKey{key: keyOf(&l.port.PortTraffic), note: l.note != ""}
	if l.endpoint != nil {
		k.address = l.endpoint.Address
	}
	return k
}

// layLines makes the lines of what is shown and keeps the cursor on what is selected.
func (m *model) layLines() {
	m.lines = nil
	for i := range m.shown.Ports {
		p := &m.shown.Ports[i]
		m.lines = append(m.lines, line{port: p})
		if m.open == "" || keyOf(&p.PortTraffic).asked() != m.open {
			continue
		}
		for j := range p.List {
			m.lines = append(m.lines, line{port: p, endpoint: &p.List[j]})
		}
		switch {
		case len(p.List) > 0:
		case m.wanted:
			m.lines = append(m.lines, line{port: p, note: "  asking for its endpoints"})
		default:
			m.lines = append(m.lines, line{port: p, note: "  no endpoints"})
		}
	}
	cursor := -1
	for i := range m.lines {
		if m.follows && m.lines[i].key() == m.selected {
			cursor = i
		}
	}
	if cursor < 0 && !m.follows {
		cursor = 0
	}
	if cursor >= 0 {
		m.cursor = cursor
	}
	m.settle()
}

// move moves the cursor, and from then on it stays with what is selected.
func (m *model) move(to int) {
	m.cursor, m.follows = to, true
	m.settle()
}

// settle brings the cursor to a line that is there, and the screen to the cursor.
func (m *model) settle() {
	m.cursor = max(min(m.cursor, len(m.lines)-1), 0)
	m.selected = lineKey{}
	if len(m.lines) > 0 {
		m.selected = m.lines[m.cursor].key()
	}
	m.scroll()
}

// scroll shows the line of the cursor.
func (m *model) scroll() {
	page := m.page()
	m.top = min(m.top, m.cursor)
	m.top = max(m.top, m.cursor-page+1)
	m.top = max(min(m.top, len(m.lines)-page), 0)
}

// page is how many lines of the table the screen has place for.
func (m *model) page() int { return max(m.height-chrome, 1) }

// chrome is the lines around the table: two of the header, one for what has to be said, the titles, and the keys.
const chrome = 5

// unfold shows the endpoints of a Service, or hides them if they are shown.
func (m *model) unfold() (asks bool) {
	if len(m.lines) == 0 {
		return false
	}
	l := m.lines[m.cursor]
	of := keyOf(&l.port.PortTraffic).asked()
	if m.open == of {
		m.open, m.wanted = "", false
		m.selected = (&line{port: l.port}).key() // which is there when the endpoints are not
	} else {
		m.open, m.wanted = of, true
	}
	m.follows = true
	m.layLines()
	return m.wanted
}
