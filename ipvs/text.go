package ipvs

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// String is the scheduler, then what else is set, by name: "rr", "sh fallback port", "wlc persistent 10800s /24".
func (v VirtualServer) String() string {
	var b strings.Builder
	b.WriteString(v.Scheduler)
	if v.Flags&Persistent != 0 {
		fmt.Fprintf(&b, " persistent %ds", v.PersistenceTimeout)
		if v.PersistencePrefix != 0 {
			fmt.Fprintf(&b, " /%d", v.PersistencePrefix)
		}
	}
	if v.Flags&OnePacket != 0 {
		b.WriteString(" one-packet")
	}
	for _, f := range schedulerFlags(v.Scheduler) {
		if v.Flags&f.flag != 0 {
			b.WriteString(" " + f.name)
		}
	}
	if unknown := v.Flags &^ allFlags; unknown != 0 {
		fmt.Fprintf(&b, " flags-%#x", uint32(unknown))
	}
	return b.String()
}

// String is the forwarding method and the weight, then the thresholds that are set: "masq weight 1 upper 100 lower 50".
func (r RealServer) String() string {
	s := fmt.Sprintf("%s weight %d", r.Forwarding, r.Weight)
	if r.UpperThreshold != 0 {
		s += fmt.Sprintf(" upper %d", r.UpperThreshold)
	}
	if r.LowerThreshold != 0 {
		s += fmt.Sprintf(" lower %d", r.LowerThreshold)
	}
	return s
}

// schedulerFlag is a flag that the scheduler gives its meaning, with its name in the table text and that of ipvsadm.
type schedulerFlag struct {
	flag          Flags
	name, ipvsadm string
}

// schedulerFlags names the flags as the scheduler understands them: sh and mh have names for two of them.
func schedulerFlags(scheduler string) [3]schedulerFlag {
	names := [3]schedulerFlag{
		{Sched1, "sched-1", "flag-1"},
		{Sched2, "sched-2", "flag-2"},
		{Sched3, "sched-3", "flag-3"},
	}
	if scheduler == "sh" || scheduler == "mh" {
		names[0] = schedulerFlag{Sched1, "fallback", scheduler + "-fallback"}
		names[1] = schedulerFlag{Sched2, "port", scheduler + "-port"}
	}
	return names
}

// String is the text form of the table, sorted, one line for each entry:
//
//	tcp://10.1.0.10:30080 rr
//	  10.244.1.2:8080 masq weight 1
//	  10.244.2.7:8080 masq weight 0
//	udp://[fd01::10]:30053 sh fallback port
//
// The same table always gives the same text, and ParseTable reads it back.
func (t Table) String() string {
	var b strings.Builder
	for _, key := range t.Keys() {
		e := t[key]
		fmt.Fprintf(&b, "%s %s\n", key, e.VirtualServer)
		for _, addr := range e.RealKeys() {
			fmt.Fprintf(&b, "  %s %s\n", addr, e.Reals[addr])
		}
	}
	return b.String()
}

// ParseTable reads the form that String writes, in any order and with any indentation: a line whose first word is a
// frontend begins a virtual server, every other one is a real server of the one above. Empty lines and lines that begin
// with # are skipped. Only valid tables are read (see Table.Validate); the error names the line.
func ParseTable(s string) (Table, error) {
	t := Table{}
	var key frontend.Key
	n := 0
	for line := range strings.Lines(s) {
		n++
		words := strings.Fields(line)
		var err error
		switch {
		case len(words) == 0 || strings.HasPrefix(words[0], "#"):
		case strings.Contains(words[0], "://"):
			key, err = t.addVirtualLine(words)
		default:
			err = t.addRealLine(key, words)
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
	}
	return t, nil
}

func (t Table) addVirtualLine(words []string) (frontend.Key, error) {
	key, err := frontend.ParseKey(words[0])
	if err != nil {
		return key, err
	}
	v, err := parseVirtual(words[1:])
	if err != nil {
		return key, fmt.Errorf("%s: %w", key, err)
	}
	return key, t.addVirtual(key, v)
}

func (t Table) addRealLine(key frontend.Key, words []string) error {
	addr, err := netip.ParseAddrPort(words[0])
	if err != nil {
		return fmt.Errorf("neither a frontend nor the address of a real server: %w", err)
	}
	r, err := parseReal(words[1:])
	if err != nil {
		return fmt.Errorf("real server %s: %w", addr, err)
	}
	return t.addReal(key, addr, r)
}

// addVirtual puts a virtual server that was read into t, if it is valid and not there yet.
func (t Table) addVirtual(key frontend.Key, v VirtualServer) error {
	if err := errors.Join(key.Validate(), v.Validate(key)); err != nil {
		return err
	}
	if _, exists := t[key]; exists {
		return fmt.Errorf("%s: a second virtual server of this name", key)
	}
	t[key] = Entry{VirtualServer: v, Reals: map[netip.AddrPort]RealServer{}}
	return nil
}

// addReal puts a real server that was read into t, if it is valid, not there yet, and its virtual server is.
func (t Table) addReal(key frontend.Key, addr netip.AddrPort, r RealServer) error {
	e, exists := t[key]
	if !exists {
		return fmt.Errorf("real server %s has no virtual server before it", addr)
	}
	if err := r.Validate(key, addr); err != nil {
		return err
	}
	if _, exists := e.Reals[addr]; exists {
		return fmt.Errorf("%s: a second real server %s", key, addr)
	}
	e.Reals[addr] = r
	return nil
}

// parseVirtual reads what VirtualServer.String writes.
func parseVirtual(words []string) (VirtualServer, error) {
	if len(words) == 0 {
		return VirtualServer{}, errors.New("no scheduler")
	}
	v := VirtualServer{Scheduler: words[0]}
	for words = words[1:]; len(words) > 0; {
		word := words[0]
		words = words[1:]
		flag, err := parseFlag(v.Scheduler, word)
		if err != nil {
			return v, err
		}
		if v.Flags&flag != 0 {
			return v, fmt.Errorf("%s stands there twice", word)
		}
		v.Flags |= flag
		if flag == Persistent {
			if words, err = v.parsePersistence(words); err != nil {
				return v, err
			}
		}
	}
	return v, nil
}

func parseFlag(scheduler, word string) (Flags, error) {
	switch word {
	case "persistent":
		return Persistent, nil
	case "one-packet":
		return OnePacket, nil
	}
	for _, f := range schedulerFlags(scheduler) {
		if word == f.name {
			return f.flag, nil
		}
	}
	return 0, fmt.Errorf("unknown flag %q of scheduler %q", word, scheduler)
}

// parsePersistence reads the timeout and the prefix, if there is one, and returns the words behind them.
func (v *VirtualServer) parsePersistence(words []string) ([]string, error) {
	if len(words) == 0 {
		return nil, errors.New("persistent needs a timeout, for example 10800s")
	}
	seconds, ok := strings.CutSuffix(words[0], "s")
	n, err := strconv.ParseUint(seconds, 10, 32)
	if !ok || err != nil {
		return nil, fmt.Errorf("persistence timeout %q is no number of seconds such as 10800s", words[0])
	}
	v.PersistenceTimeout = uint32(n)
	words = words[1:]
	if len(words) == 0 || !strings.HasPrefix(words[0], "/") {
		return words, nil
	}
	n, err = strconv.ParseUint(words[0][1:], 10, 8)
	if err != nil || n == 0 {
		return nil, fmt.Errorf("persistence prefix %q is no prefix length such as /24", words[0])
	}
	v.PersistencePrefix = uint8(n)
	return words[1:], nil
}

// parseReal reads what RealServer.String writes.
func parseReal(words []string) (RealServer, error) {
	var r RealServer
	if len(words) < 3 || words[1] != "weight" {
		return r, errors.New("want FORWARDING weight NUMBER")
	}
	methods := []Forwarding{Masquerade, Local, Tunnel, Route}
	i := slices.IndexFunc(methods, func(f Forwarding) bool { return f.String() == words[0] })
	if i < 0 {
		return r, fmt.Errorf("unknown forwarding method %q", words[0])
	}
	r.Forwarding = methods[i]
	seen := map[string]bool{}
	for words = words[1:]; len(words) > 0; words = words[2:] {
		name := words[0]
		if len(words) < 2 || seen[name] {
			return r, fmt.Errorf("%s needs one number", name)
		}
		seen[name] = true
		n, err := strconv.ParseUint(words[1], 10, 32)
		if err != nil {
			return r, fmt.Errorf("%s %q: %w", name, words[1], errors.Unwrap(err))
		}
		switch name {
		case "weight":
			r.Weight = uint32(n)
		case "upper":
			r.UpperThreshold = uint32(n)
		case "lower":
			r.LowerThreshold = uint32(n)
		default:
			return r, fmt.Errorf("unknown word %q", name)
		}
	}
	return r, nil
}
