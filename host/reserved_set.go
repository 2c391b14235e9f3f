package host

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// portSet is a set of ports, one bit for each. Port 0 is one of them: the kernel takes and keeps it too.
type portSet [(1 << 16) / 64]uint64

func newPortSet(ranges []frontend.PortRange) *portSet {
	s := new(portSet)
	for _, r := range ranges {
		s.add(r)
	}
	return s
}

func (s *portSet) add(r frontend.PortRange) {
	for port := int(r.First); port <= int(r.Last); port++ {
		s[port/64] |= 1 << (port % 64)
	}
}

func (s *portSet) empty() bool { return *s == portSet{} }

func (s *portSet) union(o *portSet) *portSet {
	return combine(s, o, func(a, b uint64) uint64 { return a | b })
}

func (s *portSet) minus(o *portSet) *portSet {
	return combine(s, o, func(a, b uint64) uint64 { return a &^ b })
}

func (s *portSet) intersect(o *portSet) *portSet {
	return combine(s, o, func(a, b uint64) uint64 { return a & b })
}

func combine(a, b *portSet, f func(a, b uint64) uint64) *portSet {
	c := new(portSet)
	for i := range c {
		c[i] = f(a[i], b[i])
	}
	return c
}

// ranges is the set as the fewest possible ranges, ascending.
func (s *portSet) ranges() []frontend.PortRange {
	var ranges []frontend.PortRange
	for i, word := range s {
		for ; word != 0; word &= word - 1 {
			port := uint16(i*64 + bits.TrailingZeros64(word))
			if last := len(ranges) - 1; last >= 0 && ranges[last].Last+1 == port {
				ranges[last].Last = port
				continue
			}
			ranges = append(ranges, frontend.PortRange{First: port, Last: port})
		}
	}
	return ranges
}

// texts is the set as the kernel reads it, in lines of at most limit bytes with the line feed; the empty set is an empty
// line.
func (s *portSet) texts(limit int) []string {
	var lines []string
	var line strings.Builder
	for _, r := range s.ranges() {
		text := r.String()
		if line.Len()+len(text)+len(",\n") > limit {
			lines = append(lines, line.String()+"\n")
			line.Reset()
		}
		if line.Len() > 0 {
			line.WriteByte(',')
		}
		line.WriteString(text)
	}
	return append(lines, line.String()+"\n")
}

// MarshalText is the form that the kernel prints: 80,443,30000-30085.
func (s *portSet) MarshalText() ([]byte, error) {
	return []byte(strings.TrimSpace(s.texts(maxReservedText)[0])), nil
}

// UnmarshalText reads what the kernel prints, in one line or in several.
func (s *portSet) UnmarshalText(text []byte) error {
	*s = portSet{}
	for part := range strings.FieldsFuncSeq(string(text), func(r rune) bool { return r == ',' || r == '\n' }) {
		from, to, isRange := strings.Cut(part, "-")
		if !isRange {
			to = from
		}
		first, err := strconv.ParseUint(from, 10, 16)
		if err != nil {
			return fmt.Errorf("ports %q: %w", part, err)
		}
		last, err := strconv.ParseUint(to, 10, 16)
		if err != nil {
			return fmt.Errorf("ports %q: %w", part, err)
		}
		if last < first {
			return fmt.Errorf("ports %q: the end comes before the beginning", part)
		}
		s.add(frontend.PortRange{First: uint16(first), Last: uint16(last)})
	}
	return nil
}
