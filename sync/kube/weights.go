package kube

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// weights say how many of the new connections an endpoint gets: the first one that fits it counts.
type weights []weightOf

// weightOf is the weight of the endpoints that it fits.
type weightOf struct {
	kind weightKind
	// name is that of the zone, the node, or the label; value is the label's, of which hasValue says that it matters.
	name, value string
	hasValue    bool
	weight      uint16
}

type weightKind string

const (
	weightOfZone  weightKind = "zone"
	weightOfNode  weightKind = "node"
	weightOfLabel weightKind = "label"
	weightOfAll   weightKind = "*"
)

// labelMark is in the text of weights that look at labels of nodes.
const labelMark = string(weightOfLabel) + ":"

func readWeights(value string, _ Options, w *wanted) (string, error) {
	texts, err := parts(value)
	if err != nil {
		return "", err
	}
	var list weights
	for _, text := range texts {
		entry, err := parseWeight(text)
		if err != nil {
			return "", fmt.Errorf("%q: %w", text, err)
		}
		list = append(list, entry)
	}
	w.weights = list
	return shortList(list.String()), nil
}

func parseWeight(text string) (weightOf, error) {
	i := strings.LastIndexByte(text, '=')
	if i < 0 {
		return weightOf{}, errors.New("write WHO=WEIGHT, for example zone:eu-1a=3")
	}
	who, number := text[:i], text[i+1:]
	n, err := strconv.ParseUint(number, 10, 16)
	if err != nil {
		return weightOf{}, fmt.Errorf("%q is not a weight from 0 to 65535", number)
	}
	w := weightOf{kind: weightOfAll, weight: uint16(n)}
	if who == string(weightOfAll) {
		return w, nil
	}
	kind, name, _ := strings.Cut(who, ":")
	w.kind, w.name = weightKind(kind), name
	switch w.kind {
	case weightOfZone, weightOfNode:
	case weightOfLabel:
		w.name, w.value, w.hasValue = strings.Cut(name, "=")
	default:
		return weightOf{}, errors.New("write zone:NAME, node:NAME, label:KEY, label:KEY=VALUE or * before the weight")
	}
	if w.name == "" {
		return weightOf{}, fmt.Errorf("the name after %q is missing", kind+":")
	}
	return w, nil
}

// String is the list as it is written.
func (w weights) String() string {
	texts := make([]string, len(w))
	for i, e := range w {
		switch {
		case e.kind == weightOfAll:
			texts[i] = fmt.Sprintf("*=%d", e.weight)
		case e.hasValue:
			texts[i] = fmt.Sprintf("%s:%s=%s=%d", e.kind, e.name, e.value, e.weight)
		default:
			texts[i] = fmt.Sprintf("%s:%s=%d", e.kind, e.name, e.weight)
		}
	}
	return strings.Join(texts, ",")
}

// of is the weight of an endpoint in a zone on a node with labels; 1 if none fits.
func (w weights) of(zone, node string, labels map[string]string) uint16 {
	for _, e := range w {
		if e.fits(zone, node, labels) {
			return e.weight
		}
	}
	return 1
}

func (e weightOf) fits(zone, node string, labels map[string]string) bool {
	switch e.kind {
	case weightOfZone:
		return zone == e.name
	case weightOfNode:
		return node == e.name
	case weightOfLabel:
		value, has := labels[e.name]
		return has && (!e.hasValue || value == e.value)
	}
	return true
}

// most is the largest weight.
func (w weights) most() uint16 {
	var most uint16
	for _, e := range w {
		most = max(most, e.weight)
	}
	return most
}

// byLabel reports whether an entry looks at labels of nodes.
func (w weights) byLabel() bool {
	return slices.ContainsFunc(w, func(e weightOf) bool { return e.kind == weightOfLabel })
}
