package result

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"math"
	"strings"
)

// The pictures are written by a template and not by a library: gonum/plot writes colours into every element, so that there is no second
// scheme for readers in the dark, and the chart libraries for browsers need scripts, which run on no page that shows a repository. What
// is left for us are an axis and dots. html/template escapes what comes from a run.
//
//go:embed plot.svg.tmpl
var plotTemplate string

// A picture is as wide as a phone shows it without zooming.
const (
	plotWidth  = 460
	plotLeft   = 58
	plotRight  = 450
	plotHeight = 250
	lineHeight = 16
	widest     = 48 // column, of few subjects
)

// drawing is what the template gets: coordinates are ready to be written.
type drawing struct {
	Title                            string
	Width, Height, Left, Right, Wide int
	Top, Bottom, High                float64
	Legend                           []label
	Keys                             label
	Ticks, Minor                     []label
	Groups                           []label
	Borders                          []float64 // between groups
	Columns                          []column
	Band                             bool
	BandTop, BandHigh                float64
}

type label struct {
	Class, Text string
	X, Y        float64
}

// bar is from zero to the median.
type bar struct{ X, Y, Wide, High float64 }

// column is what one subject has in one group. Dots and arrows are paths, for there are hundreds.
type column struct {
	Class, Tip, Dots, Arrows, Median string
	Few                              bool // so that a dot has to be seen alone
	Bar                              *bar // of an amount
}

func (c chart) svg(a axis) ([]byte, error) {
	parsed, err := template.New("plot").Parse(plotTemplate)
	if err != nil {
		return nil, err
	}
	d := drawing{Title: c.title, Width: plotWidth, Left: plotLeft, Right: plotRight, Wide: plotRight - plotLeft, High: plotHeight}
	d.Top = c.legend(&d) + 14
	d.Bottom = d.Top + plotHeight
	a.top, a.bottom = d.Top, d.Bottom
	for _, v := range a.ticks {
		d.Ticks = append(d.Ticks, label{Text: c.unit.mark(v), X: plotLeft - 6, Y: a.y(v)})
	}
	for _, v := range a.minor {
		d.Minor = append(d.Minor, label{Y: a.y(v)})
	}
	if c.band[1] > 0 {
		d.Band, d.BandTop, d.BandHigh = true, a.y(c.band[1]), round(a.y(c.band[0])-a.y(c.band[1]))
	}
	lines := c.fill(&d, a)
	d.Height = int(d.Bottom) + 8 + lines*lineHeight
	var b bytes.Buffer
	if err := parsed.Execute(&b, d); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// fill draws the groups, and says how many lines their names have.
func (c chart) fill(d *drawing, a axis) (lines int) {
	wide := float64(d.Wide) / float64(len(c.groups))
	each := min(widest, wide/(float64(len(c.subjects))+0.5))
	for g, name := range c.groups {
		left := plotLeft + float64(g)*wide
		for i, line := range name {
			d.Groups = append(d.Groups, label{Text: line, X: round(left + wide/2), Y: d.Bottom + float64((i+1)*lineHeight)})
		}
		lines = max(lines, len(name))
		if g > 0 {
			d.Borders = append(d.Borders, round(left))
		}
		for i, subject := range c.subjects {
			if s := c.values(subject, g); len(s.values) > 0 {
				fromMiddle := float64(i) - float64(len(c.subjects)-1)/2
				col := s.column(a, left+wide/2+each*fromMiddle, each)
				col.Class = class(subject)
				col.Tip = fmt.Sprintf("%s, %s: %s", subject, strings.Join(name, " "), s.text())
				d.Columns = append(d.Columns, col)
			}
		}
	}
	return lines
}

// column puts the values of one column around its middle. They are spread from side to side in an order that fills gaps, so that dots
// of one height are seen as many.
func (s series) column(a axis, middle, wide float64) column {
	var dots, arrows strings.Builder
	for i, v := range s.values {
		if a.log && v.low <= 0 {
			continue
		}
		x := middle
		if len(s.values) > 3 {
			x += (halton(i+1) - 0.5) * wide * 0.7
		}
		if v.exact() {
			fmt.Fprintf(&dots, "M%g %gh0", round(x), a.y(v.low))
		} else {
			fmt.Fprintf(&arrows, "M%g %gl-4 6h8z", round(x), round(a.y(v.low)-4))
		}
	}
	col := column{Dots: dots.String(), Arrows: arrows.String(), Few: len(s.values) <= 3}
	if m, ok := s.median(); ok && m.exact() && len(s.values) > 1 && (!a.log || m.low > 0) {
		col.Median = fmt.Sprintf("M%g %gh%g", round(middle-wide*0.42), a.y(m.low), round(wide*0.84))
	}
	if m, ok := s.median(); ok && !a.log && a.low == 0 {
		y := a.y(m.low)
		col.Bar = &bar{X: round(middle - wide*0.42), Y: y, Wide: round(wide * 0.84), High: round(a.bottom - y)}
	}
	return col
}

// halton is the i-th of a sequence of numbers between 0 and 1 that are far from those before.
func halton(i int) float64 {
	v, f := 0.0, 0.5
	for ; i > 0; i /= 2 {
		v += f * float64(i%2)
		f /= 2
	}
	return v
}

// legend is above the plot, in as many columns as its names leave room for, with a line about the marks. It returns where it ends.
func (c chart) legend(d *drawing) float64 {
	longest, cut := 0, false
	for _, subject := range c.subjects {
		longest = max(longest, len(subject))
		for g := range c.groups {
			m, ok := c.values(subject, g).rankLast()
			cut = cut || ok && !m.exact()
		}
	}
	columns := max(1, min(3, int(math.Floor((plotRight-10)/(float64(longest)*5.9+20)))))
	y := 22.0
	for i, subject := range c.subjects {
		y = float64(42 + i/columns*lineHeight)
		x := 14 + float64(i%columns)*math.Floor((plotRight-10)/float64(columns))
		d.Legend = append(d.Legend, label{Class: class(subject), Text: subject, X: x, Y: y})
	}
	keys := "dots: values, bars: medians"
	if cut {
		keys += ", triangles: cut off there"
	}
	if c.log {
		keys += "; logarithmic scale"
	}
	d.Keys = label{Text: keys, X: 10, Y: y + lineHeight + 2}
	return d.Keys.Y
}

// rankLast is the greatest value, if there is one.
func (s series) rankLast() (span, bool) {
	if len(s.values) == 0 {
		return span{}, false
	}
	return s.rank(len(s.values) - 1), true
}

// class is the colour of a subject, the same in all pictures.
func class(subject string) string {
	name, period := splitSubject(subject)
	suffix := ""
	if period > 0 {
		suffix = " slow"
	}
	switch name {
	case KubeIPVS:
		return "ours"
	case KubeProxyNft:
		return "nft" + suffix
	case KubeProxyIPVS:
		return "ipvs" + suffix
	case PodDirect:
		return "pod"
	default:
		return "other"
	}
}
