package top

import "charm.land/lipgloss/v2"

// styles are how words look beyond what they say. Without colour there are still bold and reversed ones.
type styles struct {
	normal, title, heading, sorted, selected, endpoint, warn, bad, faint lipgloss.Style
}

func newStyles(color bool) styles {
	plain := lipgloss.NewStyle()
	s := styles{
		normal: plain, title: plain.Bold(true), heading: plain.Bold(true), sorted: plain.Bold(true).Underline(true),
		selected: plain.Reverse(true), endpoint: plain, warn: plain, bad: plain.Bold(true), faint: plain.Faint(true),
	}
	if color { // of the sixteen that every terminal has in a shade that is read on its background
		s.sorted = s.sorted.Foreground(lipgloss.Cyan)
		s.endpoint = s.endpoint.Foreground(lipgloss.Cyan)
		s.warn = s.warn.Foreground(lipgloss.Yellow)
		s.bad = s.bad.Foreground(lipgloss.Red)
	}
	return s
}
