package observe

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// nftObserver asks through a socket of its own, and listens while changes are waited for.
//
// It does not listen for the first ruleset: who listens makes the kernel write a message for each rule, chain and element within the
// commit, and "nft -f" of 2,700 Services with 10 endpoints took 17 to 50 % longer so (Linux 6.18, 1.3 s without).
type nftObserver struct {
	host *topo.Host

	mu       sync.Mutex
	socket   *nfSocket
	listener *listener // nil when nothing is waited for
}

// Nftables observes kube-proxy's tables in nftables mode (upstream's pkg/proxy/nftables). Everything: whenever the generation of the ruleset, which
// every commit changes, is another. A change: by the kernel's notifications of what a commit changed.
func Nftables(host *topo.Host) (Observer, error) {
	o := &nftObserver{host: host}
	err := host.Do(func() (err error) {
		o.socket, err = openNetfilter()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("observe nftables of %s: %w", host.Name, err)
	}
	return o, nil
}

func (o *nftObserver) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return errors.Join(o.stop(), o.socket.close())
}

// stop ends listening.
func (o *nftObserver) stop() error {
	if o.listener == nil {
		return nil
	}
	err := o.listener.close()
	o.listener = nil
	return err
}

func (o *nftObserver) Complete(ctx context.Context, want Want) (time.Time, time.Duration, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.stop(); err != nil {
		return time.Time{}, 0, err
	}
	var (
		seen    uint32       // generation that was looked at last; none is 0
		lacking = len(want)  // in that generation
		before  = time.Now() // when it, or what it was before the first, was still there
	)
	for {
		begin := time.Now()
		generation, err := o.socket.generation()
		at := time.Now()
		if err == nil && generation != seen {
			var exact bool
			lacking, exact, err = o.socket.lacking(want, generation)
			if !exact { // Another commit came while this one's ruleset was read: it may be what was seen.
				at = time.Now()
			}
			if err == nil && lacking == 0 {
				return at, at.Sub(before), nil
			}
		}
		seen, before = generation, begin
		if err == nil {
			err = rest(ctx, begin)
		}
		if err != nil {
			return time.Time{}, 0, fmt.Errorf("observe nftables: %d of %d frontends lack something: %w", lacking, len(want), err)
		}
	}
}

// generation is the number of the last commit, of whatever table.
func (s *nfSocket) generation() (id uint32, err error) {
	err = s.ask(unix.NFT_MSG_GETGEN, unix.AF_UNSPEC, 0, nil, func(m message) error {
		id = uint32(number(attribute(m.attrs, unix.NFTA_GEN_ID)))
		return nil
	})
	return id, err
}

// lacking is how many frontends do not lead to all of their endpoints. The shorter a look, the likelier that the
// generation is still the same, so that it begins with what is the least: node ports, then rules, which say to how many endpoints they lead.
// Exact says that no other generation came while that was read. The endpoints themselves are in a set for each rule, and
// are looked at when nothing else is missing.
func (s *nfSocket) lacking(want Want, generation uint32) (n int, exact bool, err error) {
	families := map[uint8]*ruleset{}
	exact = true
	for key := range want {
		families[family(key)] = newRuleset()
	}
	for f, r := range families {
		take := func(m message) error {
			exact = exact && m.generation == uint16(generation)
			r.apply(m)
			return nil
		}
		if err := s.set(f, nodePortIPSet, take); err != nil {
			return 0, exact, err
		}
		if err := s.set(f, nodePortsMap, take); err != nil {
			return 0, exact, err
		}
	}
	if n = want.lacking(func(key frontend.Key, _ []netip.AddrPort) bool {
		return families[family(key)].external(key) != ""
	}); n > 0 {
		return n, exact, nil
	}
	for f, r := range families {
		if err := s.ask(unix.NFT_MSG_GETRULE, f, unix.NLM_F_DUMP, appendText(nil, unix.NFTA_RULE_TABLE, table), func(m message) error {
			exact = exact && m.generation == uint16(generation)
			r.apply(m)
			return nil
		}); err != nil {
			return 0, exact, err
		}
	}
	if n = want.lacking(func(key frontend.Key, endpoints []netip.AddrPort) bool {
		return families[family(key)].announced(key) >= len(endpoints)
	}); n > 0 {
		return n, exact, nil
	}
	n, err = s.lackingEndpoints(want, families)
	return n, exact, err
}

// lackingEndpoints reads the maps of all frontends.
func (s *nfSocket) lackingEndpoints(want Want, families map[uint8]*ruleset) (int, error) {
	for key := range want {
		r := families[family(key)]
		if err := s.load(family(key), r, r.external(key), depth, false); err != nil {
			return 0, err
		}
	}
	return want.lacking(func(key frontend.Key, endpoints []netip.AddrPort) bool {
		have := families[family(key)].endpoints(key)
		for _, e := range endpoints {
			if !have[e] {
				return false
			}
		}
		return true
	}), nil
}

// lacking is how many are not as they should be.
func (w Want) lacking(is func(frontend.Key, []netip.AddrPort) bool) int {
	n := 0
	for key, endpoints := range w {
		if !is(key, endpoints) {
			n++
		}
	}
	return n
}

// load reads what a chain leads to, the maps that r does not have and, if asked for, the rules.
func (s *nfSocket) load(f uint8, r *ruleset, chain string, left int, rules bool) error {
	if left == 0 || chain == "" {
		return nil
	}
	take := func(m message) error {
		r.apply(m)
		return nil
	}
	if rules {
		request := appendText(appendText(nil, unix.NFTA_RULE_TABLE, table), unix.NFTA_RULE_CHAIN, chain)
		delete(r.chains, chain)
		if err := s.ask(unix.NFT_MSG_GETRULE, f, unix.NLM_F_DUMP, request, take); err != nil {
			return err
		}
	}
	for _, found := range r.chains[chain] {
		next := slices.Clone(found.chains)
		for _, set := range found.sets {
			if _, known := r.sets[set]; !known || rules {
				delete(r.sets, set)
				if err := s.set(f, set, take); err != nil {
					return err
				}
			}
			for _, e := range r.sets[set] {
				next = append(next, e.chain)
			}
		}
		for _, chain := range next {
			if err := s.load(f, r, chain, left-1, rules); err != nil {
				return err
			}
		}
	}
	return nil
}

// set reads the elements of a set or map.
func (s *nfSocket) set(f uint8, name string, take func(message) error) error {
	request := appendText(appendText(nil, unix.NFTA_SET_ELEM_LIST_TABLE, table), unix.NFTA_SET_ELEM_LIST_SET, name)
	return s.ask(unix.NFT_MSG_GETSETELEM, f, unix.NLM_F_DUMP, request, take)
}

// nodePort reads one element of the map of node ports.
func (s *nfSocket) nodePort(f uint8, key frontend.Key, take func(message) error) error {
	request := appendText(appendText(nil, unix.NFTA_SET_ELEM_LIST_TABLE, table), unix.NFTA_SET_ELEM_LIST_SET, nodePortsMap)
	value := appendAttr(nil, unix.NFTA_DATA_VALUE, []byte(nodePort(key)))
	element := appendAttr(nil, unix.NFTA_SET_ELEM_KEY|unix.NLA_F_NESTED, value)
	list := appendAttr(nil, unix.NFTA_LIST_ELEM|unix.NLA_F_NESTED, element)
	request = appendAttr(request, unix.NFTA_SET_ELEM_LIST_ELEMENTS|unix.NLA_F_NESTED, list)
	return s.ask(unix.NFT_MSG_GETSETELEM, f, 0, request, take)
}

// family is nf_tables' name for the one of a frontend.
func family(key frontend.Key) uint8 {
	if key.Addr.Is4() {
		return unix.NFPROTO_IPV4
	}
	return unix.NFPROTO_IPV6
}

// Prepare begins to listen, if nobody does yet, and reads what the frontend leads to, if nobody has yet.
func (o *nftObserver) Prepare(key frontend.Key, endpoint netip.AddrPort) (func(context.Context) (time.Time, error), error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.listener == nil {
		err := o.host.Do(func() (err error) {
			o.listener, err = newListener()
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("observe nftables: %w", err)
		}
	}
	wait, err := o.listener.prepare(o.socket, key, endpoint)
	if err != nil {
		return nil, fmt.Errorf("observe %s: %w", key, err)
	}
	return func(ctx context.Context) (time.Time, error) {
		at, err := wait(ctx)
		if err != nil {
			return time.Time{}, fmt.Errorf("wait for %s of %s: %w", endpoint, key, err)
		}
		return at, nil
	}, nil
}
