package top

import (
	"strconv"
	"strings"
)

// column is one of the table. Numbers stand right, the last one has words and stands left.
type column struct {
	title    string
	width    int // on the screen; the printed table takes what it needs
	left     bool
	sort     Sort // the order that it shows
	port     func(*Port) string
	endpoint func(*Endpoint) string
}

// The columns in groups that stand and go together, the most important first.
func groups() [][]column {
	numbers := func(title string, of func(*Rates) float64, sort Sort) column {
		return column{
			title: title, width: max(len(title), 5), sort: sort,
			port:     func(p *Port) string { return rate(p.Rates, of) },
			endpoint: func(e *Endpoint) string { return rate(e.Rates, of) },
		}
	}
	return [][]column{
		{numbers("CONN/S", func(r *Rates) float64 { return r.Connections }, ByConnections)},
		{{
			title: "ACTIVE", width: 6, sort: ByActive,
			port: func(p *Port) string { return short(float64(p.Active)) }, endpoint: func(e *Endpoint) string { return short(float64(e.Active)) },
		}},
		{
			numbers("IN B/S", func(r *Rates) float64 { return r.InBytes }, ByBytes),
			numbers("OUT B/S", func(r *Rates) float64 { return r.OutBytes }, ByBytes),
		},
		{{title: stateTitle, width: 16, left: true, port: endpointsOf, endpoint: state}},
		{{
			title: "NODEPORT", width: 8,
			port:     func(p *Port) string { return strconv.Itoa(int(p.NodePort)) },
			endpoint: func(*Endpoint) string { return "" },
		}},
		{
			numbers("IN PKT/S", func(r *Rates) float64 { return r.InPackets }, ""),
			numbers("OUT PKT/S", func(r *Rates) float64 { return r.OutPackets }, ""),
		},
		{{
			title: "INACTIVE", width: 8,
			port: func(p *Port) string { return short(float64(p.Inactive)) }, endpoint: func(e *Endpoint) string { return short(float64(e.Inactive)) },
		}},
		{{
			title: "CONN TOTAL", width: 10,
			port: func(p *Port) string { return short(float64(p.Connections)) },
			endpoint: func(e *Endpoint) string {
				if !e.Counted {
					return unknown
				}
				return short(float64(e.Connections))
			},
		}},
	}
}

// stateTitle is the column that says how endpoints are.
const stateTitle = "ENDPOINTS"

// order is how columns stand from left to right.
func order() []string {
	return []string{"NODEPORT", "CONN/S", "CONN TOTAL", "ACTIVE", "INACTIVE", "IN B/S", "OUT B/S", "IN PKT/S", "OUT PKT/S", stateTitle}
}

// choose are the columns of a choice of groups, in their order.
func choose(chosen [][]column) []column {
	var columns []column
	for _, title := range order() {
		for _, g := range chosen {
			for _, c := range g {
				if c.title == title {
					columns = append(columns, c)
				}
			}
		}
	}
	return columns
}

const (
	gap    = 2 // between columns
	margin = 2 // for the mark of the selected line
	// A name has this much before there are columns beyond those that everybody needs, and beyond these.
	nameWidth, wideNameWidth = 20, 36
	needed                   = 4 // groups that everybody needs
)

// fit chooses the columns that a screen has place for, those of the order first, and gives names the rest, as far as the
// longest needs it. The column of words is as wide as the words are.
func fit(width int, by Sort, longest, words int) (columns []column, name int) {
	var first, rest, chosen [][]column
	for i, g := range groups() {
		if g[0].title == stateTitle {
			g[0].width = min(max(words, len(stateTitle)), g[0].width)
		}
		if i < needed && g[0].sort == by {
			first = append(first, g)
		} else {
			rest = append(rest, g)
		}
	}
	used := margin
	for i, g := range append(first, rest...) {
		size := 0
		for _, c := range g {
			size += gap + c.width
		}
		name = min(longest, nameWidth)
		if i >= needed {
			name = min(longest, wideNameWidth)
		}
		if used+size+name > width {
			break
		}
		used += size
		chosen = append(chosen, g)
	}
	return choose(chosen), min(longest, max(width-used, 0))
}

// has reports whether a column is among others.
func has(columns []column, title string) bool {
	for _, c := range columns {
		if c.title == title {
			return true
		}
	}
	return false
}

// pad brings a cell to its column's width.
func (c *column) pad(text string, width int) string {
	if c.left {
		return left(cut(text, width), width)
	}
	return right(cut(text, width), width)
}

// name is how a Service port is called: NAMESPACE/NAME:PORT, with its protocol unless it is TCP; or ADDRESS:PORT/protocol for a
// virtual server.
func name(p *Port) string {
	protocol := "/" + strings.ToLower(p.Protocol)
	if p.Service == "" {
		return plain(p.Port + protocol)
	}
	if p.Protocol == "TCP" {
		protocol = ""
	}
	return plain(p.Namespace + "/" + p.Service + ":" + p.Port + protocol)
}

// endpointName is an endpoint's line in the column of names: its address, its state if that has no column, and as much of whose
// it is as there is place for.
func endpointName(p *Port, e *Endpoint, stateShown bool, width int) string {
	const least = 8 // characters of a name that still tell one from another
	text := "  " + e.Address
	if word := mark(e); !stateShown && word != "" {
		text = "  " + cutMiddle(e.Address, max(width-len(word)-3, least)) + " " + word
	}
	target := strings.TrimPrefix(strings.TrimPrefix(e.Target, "Pod "), p.Namespace+"/")
	if place := width - len(text) - 1; target != "" && place >= min(least, len(target)) {
		text += " " + cutMiddle(target, place)
	}
	if node := " on " + e.Node; e.Node != "" && len(text)+len(node) <= width {
		text += node
	}
	return cut(plain(text), width)
}

// endpointsOf says how many endpoints a port has.
func endpointsOf(p *Port) string {
	text := grouped(p.Endpoints)
	if p.Draining > 0 {
		text += ", " + grouped(p.Draining) + " draining"
	}
	return text
}

// mark is one word for an endpoint that gets no new connection, none for others.
func mark(e *Endpoint) string {
	switch {
	case e.Draining:
		return "draining"
	case e.Weight == 0:
		return "off"
	}
	return ""
}

// state says in words what an endpoint gets.
func state(e *Endpoint) string {
	switch {
	case e.Draining:
		return mark(e)
	case e.Weight == 0:
		return "weight 0, " + mark(e)
	}
	return "weight " + strconv.FormatUint(uint64(e.Weight), 10)
}
