package allocator

import (
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
)

// Range is the ports from First to Last, both included; none if Last is below First.
type Range struct {
	First, Last uint16
}

const mendRange = "write FIRST-LAST, for example 30000-32767"

// ParseRange reads what kube-apiserver accepts as --service-node-port-range (ParsePortRange of k8s.io/apimachinery):
// "30000-32767", the same as "30000+2767", first port and how many more, or a single port. Port 0 alone is an error.
func ParseRange(text string) (Range, error) {
	r, err := parseRange(strings.TrimSpace(text))
	if err == nil && r.Last == 0 {
		err = errors.New("port 0 is never given to anybody: " + mendRange)
	}
	if err != nil {
		return Range{}, fmt.Errorf("port range %q: %w", text, err)
	}
	return r, nil
}

func parseRange(text string) (Range, error) {
	if text == "" {
		return Range{}, errors.New("no ports: " + mendRange)
	}
	from, more, counted := strings.Cut(text, "+")
	if !counted {
		return parseSpan(text)
	}
	first, err := parsePort(from)
	if err != nil {
		return Range{}, err
	}
	count, err := parsePort(more)
	if err != nil {
		return Range{}, err
	}
	last := int(first) + int(count)
	if last > maxPort {
		return Range{}, fmt.Errorf("it ends at %d, above the highest port: write %d-%d", last, first, maxPort)
	}
	return Range{First: first, Last: uint16(last)}, nil
}

// parseSpan reads FIRST-LAST or a single port.
func parseSpan(text string) (Range, error) {
	from, to, ok := strings.Cut(text, "-")
	if !ok {
		to = from
	}
	first, err := parsePort(from)
	if err != nil {
		return Range{}, err
	}
	last, err := parsePort(to)
	if err != nil {
		return Range{}, err
	}
	if last < first {
		return Range{}, fmt.Errorf("it ends before it begins: write %d-%d", last, first)
	}
	return Range{First: first, Last: last}, nil
}

const maxPort = 65535

func parsePort(text string) (uint16, error) {
	port, err := strconv.ParseUint(text, 10, 16)
	switch {
	case errors.Is(err, strconv.ErrRange):
		return 0, fmt.Errorf("%s is above %d, the highest port: %s", text, maxPort, mendRange)
	case err != nil:
		return 0, fmt.Errorf("%q is not a port number: %s", text, mendRange)
	}
	return uint16(port), nil
}

// String is FIRST-LAST, PORT for a single port, and empty without any.
func (r Range) String() string {
	switch {
	case r.Size() == 0:
		return ""
	case r.First == r.Last:
		return strconv.Itoa(int(r.First))
	}
	return fmt.Sprintf("%d-%d", r.First, r.Last)
}

// Contains reports whether port lies in the range.
func (r Range) Contains(port uint16) bool { return r.First <= port && port <= r.Last }

// Size is the number of ports.
func (r Range) Size() int { return max(0, int(r.Last)-int(r.First)+1) }

// all are the ports in ascending order.
func (r Range) all() iter.Seq[uint16] {
	return func(yield func(uint16) bool) {
		for port := int(r.First); port <= int(r.Last); port++ { // an uint16 would never be above 65535
			if !yield(uint16(port)) {
				return
			}
		}
	}
}

// Band is a part of the API server's range of node ports.
type Band uint8

// Outside is no part of the range. Static are the ports at its beginning that the API server gives out by itself only
// when Dynamic, the rest, is used up: a Service that names its node port takes it from Static and will not find it taken
// (KEP-3668, stable since Kubernetes 1.29).
const (
	Outside Band = iota
	Static
	Dynamic
)

// String is static, dynamic or outside; "band-N" for a number without a name here.
func (b Band) String() string {
	switch b {
	case Outside:
		return "outside"
	case Static:
		return "static"
	case Dynamic:
		return "dynamic"
	}
	return "band-" + strconv.Itoa(int(b))
}

// The formula of KEP-3668: a static band of one 32nd of the range, but no smaller and no larger than these.
const (
	staticShare = 32
	minStatic   = 16
	maxStatic   = 128
)

// Bands divides a range of node ports as the API server does. A range of 16 ports or less has no static band.
func (r Range) Bands() (static, dynamic Range) {
	size := r.Size()
	if size <= minStatic {
		return Range{First: 1, Last: 0}, r
	}
	dynamic = r
	dynamic.First += uint16(min(max(minStatic, size/staticShare), maxStatic))
	return Range{First: r.First, Last: dynamic.First - 1}, dynamic
}

// Band is the part of the range that port lies in.
func (r Range) Band(port uint16) Band {
	static, dynamic := r.Bands()
	switch {
	case static.Contains(port):
		return Static
	case dynamic.Contains(port):
		return Dynamic
	}
	return Outside
}
