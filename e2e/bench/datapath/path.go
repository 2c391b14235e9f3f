package datapath

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// chainID names a chain of nftables.
type chainID struct {
	family      uint8 // unix.NFPROTO_*
	table, name string
}

func (c chainID) String() string {
	return fmt.Sprintf("%s of table %s (family %d)", c.name, c.table, c.family)
}

// ruleset has the handles of the rules of each chain, in their order.
type ruleset map[chainID][]uint64

// eventKind is NFTA_TRACE_TYPE.
type eventKind uint32

// event is what the kernel says of a traced packet: a rule that matched, the end of a chain (also by a rule that says return), or
// the policy of a base chain.
type event struct {
	kind    eventKind
	chain   chainID
	rule    uint64 // 0 if the chain ended by itself
	verdict int32
	to      string // of NFT_JUMP and NFT_GOTO
}

// passage is what a packet passed.
type passage struct{ hooks, rules int }

// walk follows a packet.
type walk struct {
	rules  ruleset
	passed passage
	within bool // a base chain
	stack  []frame
}

// frame is a chain that the packet is in, and how many of its rules it has seen.
type frame struct {
	chain chainID
	seen  int
}

// follow counts what a packet passed by its events, in their order.
func follow(rules ruleset, events []event) (passage, error) {
	w := walk{rules: rules}
	for _, e := range events {
		if err := w.step(e); err != nil {
			return passage{}, err
		}
	}
	if w.within {
		return passage{}, errors.New("the trace of a packet ends within a chain")
	}
	return w.passed, nil
}

func (w *walk) step(e event) error {
	if !w.within {
		w.within = true
		w.passed.hooks++
		w.stack = []frame{{chain: e.chain}}
	}
	if e.kind == unix.NFT_TRACETYPE_POLICY {
		w.within = false
		return nil
	}
	if len(w.stack) == 0 || w.stack[len(w.stack)-1].chain != e.chain {
		return fmt.Errorf("the trace of a packet jumps to chain %s", e.chain)
	}
	if err := w.see(&w.stack[len(w.stack)-1], e.rule); err != nil {
		return err
	}
	to := frame{chain: chainID{e.chain.family, e.chain.table, e.to}}
	switch {
	case e.kind == unix.NFT_TRACETYPE_RETURN:
		w.stack = w.stack[:len(w.stack)-1]
	case e.verdict == unix.NFT_CONTINUE:
	case e.verdict == unix.NFT_JUMP:
		w.stack = append(w.stack, to)
	case e.verdict == unix.NFT_GOTO:
		w.stack[len(w.stack)-1] = to
	default: // accepted, dropped, queued
		w.within = false
	}
	return nil
}

// see counts the rules of a chain up to one, or all that are left if it is 0.
func (w *walk) see(f *frame, rule uint64) error {
	rules, known := w.rules[f.chain]
	if !known {
		return fmt.Errorf("the ruleset lacks chain %s", f.chain)
	}
	seen := len(rules)
	if rule != 0 {
		i := slices.Index(rules, rule)
		if i < f.seen {
			return fmt.Errorf("rule %d of chain %s is not where a packet can meet it", rule, f.chain)
		}
		seen = i + 1
	}
	w.passed.rules += seen - f.seen
	f.seen = seen
	return nil
}
