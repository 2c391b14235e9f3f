package result

import (
	"fmt"
	"strings"
)

// Outcome is what became of a goal.
type Outcome string

// Outcomes. Only what was measured to its end, or what no end could change, is reached or not.
const (
	Reached     Outcome = "reached"
	NotReached  Outcome = "not reached"
	Undecided   Outcome = "undecided"
	NotMeasured Outcome = "not measured"
)

// Verdict is what was asked for, and what the samples say to it.
type Verdict struct {
	Key      string // names the file with the explanation: why/KEY.md
	Asked    string
	Findings []Finding
	Outcome  Outcome
}

// Finding is a verdict at one size, or for one family.
type Finding struct {
	Where    string
	Measured string
	Beside   string // what both sides did for it
	Outcome  Outcome
}

// Verdicts are about everything that was asked for, whether it was measured or not.
func (r Run) Verdicts() []Verdict {
	var all []Verdict
	for _, g := range goals() {
		v := Verdict{Key: g.key, Asked: g.asked, Findings: g.look(r), Outcome: NotMeasured}
		if len(v.Findings) > 0 {
			v.Outcome = Reached
		}
		for _, f := range v.Findings {
			v.Outcome = worse(v.Outcome, f.Outcome)
		}
		all = append(all, v)
	}
	return all
}

// Unexplained are the keys of the goals that were not reached and of which no file says why.
func (r Run) Unexplained() []string {
	var keys []string
	for _, v := range r.Verdicts() {
		if v.Outcome == NotReached && v.explanation() == "" {
			keys = append(keys, v.Key)
		}
	}
	return keys
}

// worse is what two findings come to: one that fails is enough, and one that is missing is more than none.
func worse(a, b Outcome) Outcome {
	for _, o := range []Outcome{NotReached, NotMeasured, Undecided} {
		if a == o || b == o {
			return o
		}
	}
	return Reached
}

// measured is the findings in one text.
func (v Verdict) measured() string {
	var all []string
	for _, f := range v.Findings {
		all = append(all, strings.TrimSpace(f.Where+" "+f.Measured))
	}
	if len(all) == 0 {
		return string(NotMeasured)
	}
	return strings.Join(all, "\n")
}

// outcome says which findings are to blame, where not all are.
func (v Verdict) outcome() string {
	if v.Outcome == Reached {
		return string(Reached)
	}
	var blamed []string
	for _, f := range v.Findings {
		if f.Outcome == v.Outcome && f.Where != "" {
			blamed = append(blamed, f.Where)
		}
	}
	if len(blamed) == 0 || len(blamed) == len(v.Findings) {
		return "**" + string(v.Outcome) + "**"
	}
	return fmt.Sprintf("**%s**\n%s", v.Outcome, strings.Join(blamed, "\n"))
}

// judge decides about a number.
type judge func(span) Outcome

// atMostTimes is reached if the number cannot be above the limit.
func atMostTimes(limit float64) judge {
	return func(s span) Outcome {
		switch {
		case s.high <= limit:
			return Reached
		case s.low > limit:
			return NotReached
		}
		return Undecided
	}
}

// atLeastTimes is reached if the number cannot be below the limit.
func atLeastTimes(limit float64) judge {
	return func(s span) Outcome {
		switch {
		case s.low >= limit:
			return Reached
		case s.high < limit:
			return NotReached
		}
		return Undecided
	}
}

// above is atLeastTimes without the limit itself.
func above(limit float64) judge {
	return func(s span) Outcome {
		switch {
		case s.low > limit:
			return Reached
		case s.high <= limit:
			return NotReached
		}
		return Undecided
	}
}
