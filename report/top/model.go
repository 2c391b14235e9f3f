package top

import (
	"context"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/kube-ipvs/kube-ipvs/report"
)

// model is the view: what was read last, what of it is shown, and where its user is.
type model struct {
	ctx    context.Context
	source Source
	o      Options // Sort and Filter are those of the moment
	styles styles

	// earlier and now are what the rates are made of.
	earlier *report.Traffic
	now     report.Traffic
	all     Document // now, with rates
	shown   Document // of that what is shown, in order
	err     error    // of the last question

	lines    []line
	selected lineKey
	cursor   int  // where selected stands
	follows  bool // the cursor stays with what is selected; before it was ever moved it stays at the top
	top      int  // the first line on the screen

	open   string // whose endpoints are shown, as a Source is asked for them
	asking bool
	wanted bool // the endpoints of open are not there yet
	paused bool
	timer  int // the number of the timer that counts

	typing        bool // a filter
	help          bool
	helpTop       int
	width, height int
}

// tick is a timer that has ended.
type tick int

// answer is that of the source.
type answer struct {
	traffic report.Traffic
	of      string // whose endpoints were asked for
	err     error
}

func newModel(ctx context.Context, source Source, o Options, t report.Traffic) *model {
	m := &model{ctx: ctx, source: source, o: o, styles: newStyles(o.Color), now: t, open: o.Endpoints}
	m.all = Compare(nil, t)
	m.arrange()
	return m
}

// Init starts the first interval.
func (m *model) Init() tea.Cmd { return m.wait() }

// Update is told of keys, answers and time.
func (m *model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
		m.scroll()
	case tick:
		if int(msg) == m.timer && !m.paused {
			return m, m.ask()
		}
	case answer:
		return m, m.take(msg)
	case tea.KeyPressMsg:
		return m, m.press(msg)
	case tea.PasteMsg:
		if m.typing {
			m.filter(m.o.Filter + msg.Content)
		}
	}
	return m, nil
}

// wait starts an interval; one that runs already does not count any more.
func (m *model) wait() tea.Cmd {
	m.timer++
	timer := m.timer
	return tea.Tick(m.o.Interval, func(time.Time) tea.Msg { return tick(timer) })
}

// ask puts a question to the source, unless one is on its way: then its answer leads to the next.
func (m *model) ask() tea.Cmd {
	if m.asking {
		return nil
	}
	m.asking = true
	of := m.open
	return func() tea.Msg {
		t, err := m.source(m.ctx, of)
		return answer{traffic: t, of: of, err: err}
	}
}

// take shows an answer. A paused view changes only for endpoints that its user asked for.
func (m *model) take(a answer) tea.Cmd {
	m.asking = false
	if m.wanted && a.of != m.open {
		return m.ask()
	}
	if m.paused && !m.wanted {
		return nil
	}
	m.wanted = false
	if m.err = a.err; m.err == nil {
		m.record(a.traffic)
	}
	return m.wait()
}

// record makes rates of a new document. Two that are much closer than an interval, or the same one again, would make rates of next to nothing:
// then the earlier one stays that with which the new one is compared.
func (m *model) record(t report.Traffic) {
	if t.Time.Sub(m.now.Time) >= m.o.Interval/2 {
		was := m.now
		m.earlier = &was
	}
	m.now = t
	m.all = Compare(m.earlier, t)
	m.arrange()
}

// arrange shows what there is in the order and with the filter of the moment.
func (m *model) arrange() {
	m.shown = m.o.limit(m.all)
	m.layLines()
}

func (m *model) filter(text string) {
	const most = 128 // the longest name of a namespace and of a Service
	kept := printable(text)
	m.o.Filter = kept[:min(len(kept), most)]
	m.arrange()
}

// printable is text without what plain would replace.
func printable(text string) string {
	var kept []rune
	for _, r := range text {
		if r >= ' ' && r <= '~' {
			kept = append(kept, r)
		}
	}
	return string(kept)
}
