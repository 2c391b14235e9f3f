package top

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// plain makes text safe for a terminal: what is not printable ASCII becomes a question mark. Names in Kubernetes are nothing
// else, so this meets escape sequences, and characters of which terminals do not agree how wide they are.
func plain(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, text)
}

// short is a number in at most four characters: 7, 0.4, 1.2k, 35M. k, M, G, T are powers of 1000.
func short(n float64) string {
	digits, unit := scaled(n)
	return digits + unit
}

func scaled(n float64) (digits, unit string) {
	const units = "kMGTPE"
	decimals := 0
	switch {
	case n > 0 && n < 0.05:
		return "<0.1", ""
	case n < 9.95 && n != math.Trunc(n):
		decimals = 1
	}
	for i := 0; n >= 999.5 && i < len(units); i++ {
		n /= 1000
		unit = units[i : i+1]
		if decimals = 0; n < 9.95 {
			decimals = 1
		}
	}
	return strconv.FormatFloat(n, 'f', decimals, 64), unit
}

// unknown stands for a number that nobody knows yet.
const unknown = "-"

func rate(r *Rates, of func(*Rates) float64) string {
	if r == nil {
		return unknown
	}
	return short(of(r))
}

// throughput is bytes per second with their unit: 1.2 MB/s.
func throughput(r *Rates, of func(*Rates) float64) string {
	if r == nil {
		return unknown + " B/s"
	}
	digits, unit := scaled(of(r))
	return digits + " " + unit + "B/s"
}

// grouped is a number with a comma after each thousand: 2,700.
func grouped(n int) string {
	text := strconv.Itoa(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return grouped(n) + " " + many
}

// cut shortens text to a width from its end.
func cut(text string, width int) string {
	switch {
	case width <= 0:
		return ""
	case len(text) <= width:
		return text
	}
	return text[:width-1] + "~"
}

// cutMiddle shortens a name to a width and keeps both ends, since the port stands last.
func cutMiddle(text string, width int) string {
	if len(text) <= width || width < 5 {
		return cut(text, width)
	}
	head := (width - 1) / 2
	return text[:head] + "~" + text[len(text)-(width-1-head):]
}

func left(text string, width int) string  { return fmt.Sprintf("%-*s", width, text) }
func right(text string, width int) string { return fmt.Sprintf("%*s", width, text) }
