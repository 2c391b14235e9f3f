package ipvs

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// Verb is what an operation does to the kernel's table.
type Verb uint8

// The verbs, one for each IPVS command that writes an entry.
const (
	AddVirtual Verb = iota + 1
	SetVirtual
	DelVirtual
	AddReal
	SetReal
	DelReal
)

// Verbs lists all verbs, for metrics and tests.
func Verbs() []Verb { return []Verb{AddVirtual, SetVirtual, DelVirtual, AddReal, SetReal, DelReal} }

// String is the name of the verb in logs, errors and metrics.
func (v Verb) String() string {
	switch v {
	case AddVirtual:
		return "add-virtual"
	case SetVirtual:
		return "set-virtual"
	case DelVirtual:
		return "delete-virtual"
	case AddReal:
		return "add-real"
	case SetReal:
		return "set-real"
	case DelReal:
		return "delete-real"
	}
	return fmt.Sprintf("verb-%d", uint8(v))
}

// Op is one operation on one entry. Virtual counts for AddVirtual and SetVirtual, RealKey for the verbs on real
// servers, Real for AddReal and SetReal. Set means the whole configuration: the kernel knows no partial change.
type Op struct {
	Verb    Verb
	Key     frontend.Key
	Virtual VirtualServer
	RealKey netip.AddrPort
	Real    RealServer
}

// Plan is a list of operations in the order in which they are to be done.
type Plan []Op

// String is one line, for example "add-real tcp://10.1.0.10:30080 10.244.1.2:8080 masq weight 1".
func (o Op) String() string {
	switch o.Verb {
	case AddVirtual, SetVirtual:
		return fmt.Sprintf("%s %s %s", o.Verb, o.Key, o.Virtual)
	case AddReal, SetReal:
		return fmt.Sprintf("%s %s %s %s", o.Verb, o.Key, o.RealKey, o.Real)
	case DelReal:
		return fmt.Sprintf("%s %s %s", o.Verb, o.Key, o.RealKey)
	}
	return fmt.Sprintf("%s %s", o.Verb, o.Key)
}

// String is one operation a line.
func (p Plan) String() string {
	var b strings.Builder
	for _, op := range p {
		b.WriteString(op.String())
		b.WriteByte('\n')
	}
	return b.String()
}

// Split parts a plan of Diff before the first operation that takes something out of service: a weight of 0, a real
// server or a virtual server deleted. Everything before it adds or raises.
func (p Plan) Split() (build, removal Plan) {
	for i, op := range p {
		if op.Verb == DelReal || op.Verb == DelVirtual || op.Verb == SetReal && op.Real.Weight == 0 {
			return p[:i:i], p[i:]
		}
	}
	return p, nil
}
