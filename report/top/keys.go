package top

import tea "charm.land/bubbletea/v2"

// press does what a key says.
func (m *model) press(msg tea.KeyPressMsg) tea.Cmd {
	switch k := msg.String(); {
	case k == "ctrl+c":
		return tea.Quit
	case k == "ctrl+z":
		return tea.Suspend
	case m.help:
		m.readHelp(k)
		return nil
	case m.typing:
		m.typeFilter(k, msg.Text)
		return nil
	default:
		return m.command(k)
	}
}

// command is a key outside of the filter and the help.
func (m *model) command(k string) tea.Cmd {
	switch k {
	case "q":
		return tea.Quit
	case "?", "h", "f1":
		m.help, m.helpTop = true, 0
	case "/":
		m.typing = true
	case "esc":
		m.filter("")
	case "p":
		return m.pause()
	case "enter", "space":
		if m.unfold() {
			return m.ask()
		}
	case "c":
		m.sortBy(ByConnections)
	case "a":
		m.sortBy(ByActive)
	case "b":
		m.sortBy(ByBytes)
	case "n":
		m.sortBy(ByName)
	default:
		m.walk(k)
	}
	return nil
}

// walk moves the cursor.
func (m *model) walk(k string) {
	switch k {
	case "up", "k":
		m.move(m.cursor - 1)
	case "down", "j":
		m.move(m.cursor + 1)
	case "pgup", "ctrl+b":
		m.move(m.cursor - m.page())
	case "pgdown", "ctrl+f":
		m.move(m.cursor + m.page())
	case "end", "G":
		m.move(len(m.lines) - 1)
	case "home", "g":
		m.move(0)
		m.follows = false // who goes to the top wants to see the top
	}
}

func (m *model) sortBy(s Sort) {
	m.o.Sort = s
	m.arrange()
}

// pause stops the view, or lets it go on at once.
func (m *model) pause() tea.Cmd {
	m.paused = !m.paused
	if m.paused {
		return nil
	}
	return m.ask()
}

// typeFilter filters with every key: enter keeps the filter, esc clears it.
func (m *model) typeFilter(k, text string) {
	switch k {
	case "enter":
		m.typing = false
	case "esc":
		m.typing = false
		m.filter("")
	case "backspace":
		if n := len(m.o.Filter); n > 0 {
			m.filter(m.o.Filter[:n-1])
		}
	case "ctrl+u":
		m.filter("")
	case "up", "down", "pgup", "pgdown":
		m.walk(k)
	default:
		if text != "" {
			m.filter(m.o.Filter + text)
		}
	}
}

// readHelp scrolls the help where it does not fit; any other key closes it.
func (m *model) readHelp(k string) {
	last := max(len(helpText())-m.height+1, 0)
	switch k {
	case "down", "j", "pgdown", "space":
		if m.helpTop < last {
			m.helpTop++
			return
		}
	case "up", "k", "pgup":
		m.helpTop = max(m.helpTop-1, 0)
		return
	}
	m.help = false
}
