package allocator

import (
	"fmt"
	"math/bits"
	"strings"
)

// Ports is a set of ports, empty to begin with: one bit for each, 8 KiB whatever is in it.
type Ports struct {
	words [(maxPort + 1) / 64]uint64
}

// ParsePorts reads what String writes: ports and ranges of ports, separated by commas, as the kernel prints
// net.ipv4.ip_local_reserved_ports. Nothing, or nothing but a line feed, is the empty set. Port 0 is a port here: the
// kernel takes and keeps it, too.
func ParsePorts(text string) (*Ports, error) {
	p := new(Ports)
	trimmed := strings.TrimSpace(text)
	if trimmed == "" {
		return p, nil
	}
	for part := range strings.SplitSeq(trimmed, ",") {
		r, err := parseSpan(part)
		if err != nil {
			return nil, fmt.Errorf("ports %q: %w", text, err)
		}
		p.AddRange(r)
	}
	return p, nil
}

// String is the shortest list of ports and ranges, ascending, for example "80,443,30000-32767".
func (p *Ports) String() string {
	var b strings.Builder
	for i, r := range p.Ranges() {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(r.String())
	}
	return b.String()
}

// Add puts ports into the set.
func (p *Ports) Add(ports ...uint16) {
	for _, port := range ports {
		p.words[port/64] |= 1 << (port % 64)
	}
}

// AddRange puts all ports of r into the set.
func (p *Ports) AddRange(r Range) {
	for port := range r.all() {
		p.Add(port)
	}
}

// Has reports whether port is in the set.
func (p *Ports) Has(port uint16) bool { return p.words[port/64]&(1<<(port%64)) != 0 }

// Union is a new set of what is in p, in o or in both.
func (p *Ports) Union(o *Ports) *Ports {
	u := new(Ports)
	for i := range u.words {
		u.words[i] = p.words[i] | o.words[i]
	}
	return u
}

// Minus is a new set of what is in p and not in o.
func (p *Ports) Minus(o *Ports) *Ports {
	m := new(Ports)
	for i := range m.words {
		m.words[i] = p.words[i] &^ o.words[i]
	}
	return m
}

// Equal reports whether both sets have the same ports.
func (p *Ports) Equal(o *Ports) bool { return p.words == o.words }

// Len is the number of ports in the set.
func (p *Ports) Len() int {
	n := 0
	for _, w := range p.words {
		n += bits.OnesCount64(w)
	}
	return n
}

// Count is the number of ports of r that are in the set: how much of a band is used.
func (p *Ports) Count(r Range) int {
	n := 0
	for port := range r.all() {
		if p.Has(port) {
			n++
		}
	}
	return n
}

// Free are the lowest ports of r that are not in the set, at most n of them. Port 0 is never among them.
func (p *Ports) Free(r Range, n int) []uint16 {
	var free []uint16
	for port := range r.all() {
		if len(free) >= n {
			break
		}
		if port != 0 && !p.Has(port) {
			free = append(free, port)
		}
	}
	return free
}

// Ranges is the set as the fewest possible ranges, ascending.
func (p *Ports) Ranges() []Range {
	var ranges []Range
	for port := range (Range{Last: maxPort}).all() {
		switch last := len(ranges) - 1; {
		case !p.Has(port):
		case last >= 0 && ranges[last].Last+1 == port:
			ranges[last].Last = port
		default:
			ranges = append(ranges, Range{First: port, Last: port})
		}
	}
	return ranges
}
