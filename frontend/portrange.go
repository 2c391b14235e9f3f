package frontend

import "strconv"

// PortRange is the ports from First to Last, both included; none if Last is below First.
type PortRange struct {
	First, Last uint16
}

// Overlap is what both ranges have, and whether that is any port at all.
func (r PortRange) Overlap(o PortRange) (PortRange, bool) {
	both := PortRange{First: max(r.First, o.First), Last: min(r.Last, o.Last)}
	if both.First > both.Last {
		return PortRange{}, false
	}
	return both, true
}

// String is FIRST-LAST, PORT for a single one, and empty without any.
func (r PortRange) String() string {
	switch {
	case r.First > r.Last:
		return ""
	case r.First == r.Last:
		return strconv.Itoa(int(r.First))
	}
	return strconv.Itoa(int(r.First)) + "-" + strconv.Itoa(int(r.Last))
}
