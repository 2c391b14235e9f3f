package report

import (
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/sync"
)

// protocolText is a protocol as Kubernetes writes it.
func protocolText(p frontend.Protocol) string { return strings.ToUpper(p.String()) }

// keyText is a frontend as people write it: 10.1.0.10:30080/tcp.
func keyText(key frontend.Key) string {
	return netip.AddrPortFrom(key.Addr, key.Port).String() + "/" + key.Protocol.String()
}

// virtualText is the configuration of a virtual server.
func virtualText(e ipvs.Entry) string {
	v := e.VirtualServer
	return v.String()
}

// plural is a number with its noun.
func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	if strings.HasSuffix(noun, "s") {
		noun += "e"
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// columns is a table of lines whose cells are aligned.
type columns struct {
	w    io.Writer
	rows [][]string
}

func newColumns(w io.Writer) *columns { return &columns{w: w} }

// row adds one line.
func (c *columns) row(cells ...any) {
	texts := make([]string, len(cells))
	for i, cell := range cells {
		texts[i] = fmt.Sprint(cell)
	}
	c.rows = append(c.rows, texts)
}

// flush writes the lines.
func (c *columns) flush() {
	Align(c.w, 3, c.rows)
	c.rows = nil
}

// orDash is what stands in a cell for nothing.
func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// age is a time ago, for people.
func age(now, then time.Time) string {
	switch d := now.Sub(then); {
	case d < time.Second:
		return "just now"
	case d < 2*time.Minute:
		return d.Truncate(time.Second).String() + " ago"
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h ago", int(d.Hours()))
	default:
		return fmt.Sprintf("%d days ago", int(d.Hours())/24)
	}
}

// shownItems is how much of a list a table shows; wide shows all.
const shownItems = 10

// firstFew are those of a list that are shown, and a line that says how many are not.
func firstFew[T any](list []T, wide bool) (shown []T, more string) {
	if wide || len(list) <= shownItems {
		return list, ""
	}
	return list[:shownItems], fmt.Sprintf("and %d more (-o wide shows all)", len(list)-shownItems)
}

// shownValue is how much of a value is shown to people: it may be a list of thousands, and have any character in it.
const shownValue = 60

func shortened(value string) string {
	text := sync.Printable(value)
	if runes := []rune(text); len(runes) > shownValue {
		text = string(runes[:shownValue]) + "..."
	}
	return text
}
