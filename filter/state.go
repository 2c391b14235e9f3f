package filter

import (
	"slices"

	"sigs.k8s.io/knftables"
)

// State is what the kernel has.
type State struct {
	// Rules has all elements that can be read, whoever wrote them. A frontend whose list of sources cannot be read has
	// Nobody there. One that is missing in the map of sources is not known to have had any.
	Rules Rules
	// Present: there is a table of our name.
	Present bool
	// Intact: the sets, maps, chains and rules are there, of the present layout and for the present options, and there are
	// just those lists of sources that frontends have, each as its ID says. If not, Ensure or Replace mend it.
	Intact bool
	// Stray has the elements that cannot be read, as "SET: ELEMENT: REASON". Somebody else wrote them; no packet that
	// the agent cares for matches them, but for those in a list, which then cannot be read either. Replace removes them.
	Stray []string
}

// state is what a listing means to a table whose rules tell pods by m.
func (l listing) state(m match) State {
	state := State{Present: l.present, Intact: l.present}
	state.Rules.init()
	for _, c := range containers() {
		// A masquerade map may still be a set, as in layout 1.
		state.Intact = state.Intact && l.types[c.name()] == c.objectType()
		if c.kind == sources {
			continue // below: what they mean stands elsewhere
		}
		for _, e := range l.elements[c.name()] {
			if err := c.add(e, &state.Rules); err != nil {
				state.Stray = append(state.Stray, err.Error())
			}
		}
	}
	l.readSources(&state)
	state.Rules.Away = l.hasChain(chainForward)
	hooks := state.Rules.Hooks()
	// Chains of somebody else in our table are his: only the rules of ours count.
	state.Intact = state.Intact && l.hasHooks(hooks) && slices.Equal(comments(byChain(l.rules)), comments(byChain(ruleObjects(m, hooks))))
	state.Rules.Pods = NormalPrefixes(state.Rules.Pods)
	slices.Sort(state.Stray)
	return state
}

// comments has those of the rules of our chains, chain by chain: what identifies a rule.
func comments(chains map[string][]*knftables.Rule) []string {
	var all []string
	for _, c := range chainObjects(Hooks{Input: true, Output: true, Forward: true}) {
		all = append(all, commentsOf(c.Name, chains[c.Name])...)
	}
	return all
}

func commentsOf(chain string, rules []*knftables.Rule) []string {
	var all []string
	for _, r := range rules {
		text := chain + ": "
		if r.Comment != nil {
			text += *r.Comment
		}
		all = append(all, text)
	}
	return all
}

func byChain(rules []*knftables.Rule) map[string][]*knftables.Rule {
	chains := map[string][]*knftables.Rule{}
	for _, r := range rules {
		chains[r.Chain] = append(chains[r.Chain], r)
	}
	return chains
}
