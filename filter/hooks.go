package filter

import (
	"slices"

	"sigs.k8s.io/knftables"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// Hooks says at which hooks a table has rules that look at every packet, those of connections included. Each is there only
// while it is needed: the first by an internal frontend, the first two by one with sources, forward while an address is away. Postrouting is there always, and costs a
// connection that is there nothing: a chain of type nat sees the first packet of each.
type Hooks struct{ Input, Output, Forward bool }

// Hooks are those that a table with these rules has.
func (r Rules) Hooks() Hooks { return hooksFor(len(r.Internal), len(r.Sources), r.Away) }

func hooksFor(internal, sources int, away bool) Hooks {
	return Hooks{Input: internal+sources > 0, Output: sources > 0, Forward: away}
}

// without are those of h that o lacks.
func (h Hooks) without(o Hooks) Hooks {
	return Hooks{Input: h.Input && !o.Input, Output: h.Output && !o.Output, Forward: h.Forward && !o.Forward}
}

// chains are the chains at these hooks.
func (h Hooks) chains() []*knftables.Chain {
	var chains []*knftables.Chain
	if h.Input {
		chains = append(chains, &knftables.Chain{
			Name:     chainInput,
			Type:     knftables.PtrTo(knftables.FilterType),
			Hook:     knftables.PtrTo(knftables.InputHook),
			Priority: knftables.PtrTo(knftables.FilterPriority),
			Comment:  knftables.PtrTo("before IPVS takes a packet: what may not come in"),
		})
	}
	if h.Output {
		chains = append(chains, &knftables.Chain{
			Name:     chainOutput,
			Type:     knftables.PtrTo(knftables.FilterType),
			Hook:     knftables.PtrTo(knftables.OutputHook),
			Priority: knftables.PtrTo(knftables.ManglePriority),
			Comment:  knftables.PtrTo("before IPVS takes a packet of this node: what it may not ask for"),
		})
	}
	if h.Forward {
		chains = append(chains, &knftables.Chain{
			Name:     chainForward,
			Type:     knftables.PtrTo(knftables.FilterType),
			Hook:     knftables.PtrTo(knftables.ForwardHook),
			Priority: knftables.PtrTo(knftables.FilterPriority),
			Comment:  knftables.PtrTo("an address is not on this node for now: what is sent to it on a connection of ours waits"),
		})
	}
	return chains
}

// HooksChange are the hooks before a change and after it.
type HooksChange struct{ Was, Is Hooks }

// hooksAround are the hooks of r before a change and after it.
func (r Rules) hooksAround(c Change) HooksChange {
	internal, sources := map[frontend.Key]bool{}, map[frontend.Key]bool{}
	for _, key := range c.DelInternal {
		internal[key] = false
	}
	for _, key := range c.AddInternal {
		internal[key] = true // what is added and deleted is there in the end
	}
	for _, s := range c.Sources {
		sources[s.Key] = s.Is != nil
	}
	away := r.Away
	if c.SetAway {
		away = c.Away
	}
	return HooksChange{Was: r.Hooks(), Is: hooksFor(
		grown(len(r.Internal), internal, r.Internal.Has),
		grown(len(r.Sources), sources, func(key frontend.Key) bool { return r.Sources[key] != nil }),
		away,
	)}
}

// grown is the size of a set of n keys once it has, or has not, some of them.
func grown(n int, after map[frontend.Key]bool, has func(frontend.Key) bool) int {
	for key, is := range after {
		switch was := has(key); {
		case is && !was:
			n++
		case was && !is:
			n--
		}
	}
	return n
}

// changeHooks makes the chains that a change needs and removes those that nothing needs after it.
//
// A change that narrows who may connect writes the chains that it needs whole: what is remembered of them may be wrong, after a
// transaction of which nobody knows whether it was carried out, and a restriction without its hook holds nobody back.
//
// Before a chain has its rules in force, packets pass it. That lets nobody in who was kept out: where the chain was missing,
// nobody was. The first frontend with a restriction is either not served before this transaction, or was open before.
func changeHooks(tx *knftables.Transaction, m match, c HooksChange, narrows bool) {
	written := c.Is.without(c.Was)
	if narrows {
		written.Input, written.Output = c.Is.Input, c.Is.Output
	}
	for _, chain := range written.chains() {
		tx.Add(chain)
		tx.Flush(chain) // whatever stands under its name
	}
	for _, rule := range ruleObjects(m, written) {
		if rule.Chain == chainInput || rule.Chain == chainOutput || rule.Chain == chainForward {
			tx.Add(rule)
		}
	}
	for _, chain := range c.Was.without(c.Is).chains() {
		tx.Add(chain) // deleting what may not exist
		tx.Delete(chain)
	}
}

// hasHooks reports whether the table has just these.
func (l listing) hasHooks(h Hooks) bool {
	return l.hasChain(chainInput) == h.Input && l.hasChain(chainOutput) == h.Output && l.hasChain(chainForward) == h.Forward
}

func (l listing) hasChain(name string) bool { return slices.Contains(l.chains, name) }
