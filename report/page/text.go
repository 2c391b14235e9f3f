package page

import (
	"bytes"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/kube-ipvs/kube-ipvs/report"
)

// level is how bad something is. It chooses a colour and a sign, and never stands without words.
type level string

const (
	good level = "good"
	warn level = "warn"
	bad  level = "bad"
	off  level = "off" // neither good nor bad
)

// badge is a word with the level of what it says.
type badge struct {
	Level level
	Word  string
}

// Sign says the level without colour.
func (b badge) Sign() string {
	switch b.Level {
	case good:
		return "✓"
	case warn:
		return "!"
	case off:
		return "–"
	}
	return "✕"
}

// newBadge is that of the state of a Service or a port. A state that is not known here is not called well.
func newBadge(s report.State) badge {
	switch s {
	case report.Served:
		return badge{good, string(s)}
	case report.Partly:
		return badge{warn, "partly served"}
	}
	return badge{bad, string(s)}
}

// verdict is the state of the node in a few words.
func verdict(s report.Status) badge {
	switch h := s.Health; {
	case !h.Alive:
		return badge{bad, "stuck"}
	case !h.Ready:
		return badge{bad, "not ready"}
	case h.FailingSince != nil:
		return badge{warn, "ready, but passes fail"}
	case len(s.Problems) > 0:
		return badge{warn, "ready, " + plural(len(s.Problems), "problem")}
	}
	return badge{good, "healthy"}
}

// advice says what to do if the agent does not do its work; "" if it does.
func advice(h report.Health) string {
	const meanwhile = " What was served before is served all the while."
	switch {
	case !h.Alive:
		return "Look at the end of the agent's log for what it is doing. The kubelet restarts an agent that is stuck, if its livez is a probe." + meanwhile
	case h.Synced == nil && h.Error == "":
		return "Wait some seconds after a start. If it stays so, the API server cannot be reached or refuses to list: the agent's log says which."
	case h.FailingSince != nil || h.Error != "":
		return "kube-ipvs check on the node says what is missing; the agent tries again by itself." + meanwhile
	case !h.Ready:
		return "Correct what the problems name: the agent does without what it cannot read." + meanwhile
	}
	return ""
}

// number has its thousands apart.
func number[N int | uint64](n N) string {
	text := []byte(strconv.FormatUint(uint64(n), 10))
	for i := len(text) - 3; i > 0; i -= 3 {
		text = append(text[:i], append([]byte{','}, text[i:]...)...)
	}
	return string(text)
}

// plural is "1 problem", "2 problems".
func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return number(n) + " " + noun + "s"
}

// moment is an instant for people, beside the moment at which a document was made.
type moment struct{ at, now time.Time }

// Exact is for programs, and for comparing with a log.
func (m moment) Exact() string { return m.at.UTC().Format(time.RFC3339) }

// Span is how long ago it was, or how long it takes until it is.
func (m moment) Span() string { return span(m.now.Sub(m.at).Abs()) }

// Distance is the span with its direction.
func (m moment) Distance() string {
	if m.at.After(m.now) {
		return "in " + m.Span()
	}
	return m.Span() + " ago"
}

func newMoment(at *time.Time, now time.Time) *moment {
	if at == nil {
		return nil
	}
	return &moment{at: *at, now: now}
}

// span is a length of time in its two largest units.
func span(d time.Duration) string {
	seconds := int(d.Round(time.Second).Seconds())
	minutes, hours, days := seconds/60, seconds/3600, seconds/86400
	switch {
	case seconds < 60:
		return fmt.Sprintf("%d s", seconds)
	case minutes < 60:
		return fmt.Sprintf("%d min %d s", minutes, seconds%60)
	case hours < 24:
		return fmt.Sprintf("%d h %d min", hours, minutes%60)
	}
	return fmt.Sprintf("%d d %d h", days, hours%24)
}

// visible shows what would not be seen as the tables of package report do: control characters, characters of no width and
// those that turn text around are written as Go writes them. It looks at finished pages, so that no field can be forgotten;
// what the templates write themselves is printable.
func visible(html []byte) []byte {
	if bytes.IndexFunc(html, hidden) < 0 && utf8.Valid(html) {
		return html
	}
	shown := make([]byte, 0, len(html)+1<<10)
	for len(html) > 0 {
		r, size := utf8.DecodeRune(html)
		if hidden(r) {
			quoted := strconv.QuoteRune(r)
			shown = append(shown, quoted[1:len(quoted)-1]...)
		} else {
			shown = utf8.AppendRune(shown, r)
		}
		html = html[size:]
	}
	return shown
}

func hidden(r rune) bool { return r != '\n' && r != '\t' && !strconv.IsPrint(r) }
