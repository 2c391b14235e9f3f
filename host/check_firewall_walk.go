package host

// verdict is what a base chain does with a packet, as far as its rules can be judged without one.
type verdict uint8

const (
	passes  verdict = iota + 1
	depends         // on what a packet has beside what the probe says
	drops
)

// certainty says whether a condition holds for every packet that a probe stands for.
type certainty uint8

const (
	never certainty = iota
	perhaps
	always
)

// outcome is where a packet is after a chain.
type outcome uint8

const (
	atEnd outcome = iota // it goes on behind the jump, or meets the policy
	accepted
	dropped
)

// mostJumps bounds the depth of chains; the kernel's limit is the same (NFT_JUMP_STACK_SIZE, Linux 6.1).
const mostJumps = 16

// judge says what a base chain does with the packets of a probe. Rules that drop only some of them are passed over: whoever
// drops a few means those few.
func (rs *ruleset) judge(id chainID, p probe) verdict {
	w := walk{rs: rs, probe: p, been: map[place]outcome{}}
	switch w.through(id, 0) {
	case accepted:
		return passes
	case atEnd:
		if rs.chains[id].policy != "drop" {
			return passes
		}
	}
	if w.mayPass {
		return depends
	}
	return drops
}

type walk struct {
	rs      *ruleset
	probe   probe
	mayPass bool // a rule for some of the packets accepts
	// been has what became of the packets in a chain, which is the same each time: ways through chains that jump to others by
	// several rules are more than anybody could follow.
	been map[place]outcome
}

// place is a chain, and how many jumps away it is: its own may be the last that are followed.
type place struct {
	chain chainID
	depth int
}

func (w *walk) through(id chainID, depth int) outcome {
	here := place{id, depth}
	if out, known := w.been[here]; known {
		return out
	}
	out := w.chain(id, depth)
	w.been[here] = out
	return out
}

func (w *walk) chain(id chainID, depth int) outcome {
	c := w.rs.chains[id]
	if c == nil || depth > mostJumps {
		return atEnd
	}
	for _, r := range c.rules {
		out, leave := w.rule(id, r, depth)
		if leave {
			return out
		}
	}
	return atEnd
}

// rule follows one rule. Leave is that no packet of the probe meets the next one.
func (w *walk) rule(id chainID, r rule, depth int) (out outcome, leave bool) {
	if r.acceptsByState() {
		w.mayPass = w.mayPass || w.probe.asked.IsValid() // the original destination is not shown either
		return accepted, w.probe.state == "established"
	}
	holds := always
	for _, statement := range r {
		for name, value := range statement {
			if verdict, known := w.verdict(name, value); known {
				return w.apply(id, verdict, holds, depth)
			}
			if c := w.probe.holds(name, value); c < holds {
				holds = c
			}
		}
		if holds == never {
			return atEnd, false
		}
	}
	return atEnd, false
}

// acceptsByState reports whether a rule of iptables accepts by the state of the connection, and by nothing else. nft shows
// such a match without its states; without any other condition it is the rule for established connections.
func (r rule) acceptsByState() bool {
	byState, accepts := false, false
	for _, statement := range r {
		for name, value := range statement {
			switch {
			case name == "counter", name == "xt" && field(value, "name") == "comment":
			case name == "xt" && (field(value, "name") == "conntrack" || field(value, "name") == "state"):
				byState = true
			case name == "accept":
				accepts = true
			default:
				return false
			}
		}
	}
	return byState && accepts
}

// target is the verdict of a statement, with the chain for jump and goto.
type target struct{ name, chain string }

// unknown is a verdict that cannot be told and may be accept.
const unknown = "unknown"

// verdict reads a statement that decides.
func (w *walk) verdict(name string, value any) (target, bool) {
	switch name {
	case "accept", "drop", "return", "continue":
		return target{name: name}, true
	case "reject":
		return target{name: "drop"}, true
	case "queue": // the program behind it decides
		return target{name: unknown}, true
	case "jump", "goto":
		chain, _ := field(value, "target").(string)
		return target{name, chain}, true
	case "xt":
		if field(value, "type") == "target" && field(value, "name") == "REJECT" {
			return target{name: "drop"}, true
		}
	case "vmap":
		return w.probe.lookup(value), true
	}
	return target{}, false
}

func (w *walk) apply(id chainID, t target, holds certainty, depth int) (out outcome, leave bool) {
	switch t.name {
	case "accept":
		if holds == always {
			return accepted, true
		}
		w.mayPass = true
	case unknown:
		w.mayPass = true
	case "drop":
		return dropped, holds == always
	case "return":
		// Of packets that perhaps leave the chain here nobody knows what the rules behind would have made of them.
		w.mayPass = w.mayPass || holds == perhaps
		return atEnd, holds == always
	case "jump", "goto":
		out := w.through(chainID{id.family, id.table, t.chain}, depth+1)
		if holds == perhaps {
			w.mayPass = w.mayPass || out == accepted || t.name == "goto" && out == atEnd
			return atEnd, false
		}
		return out, out != atEnd || t.name == "goto"
	}
	return atEnd, false
}
