package observe

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

var (
	here  = frontend.NewKey(netip.MustParseAddr("10.1.0.10"), frontend.TCP, 30080)
	one   = netip.MustParseAddrPort("10.244.1.2:8080")
	two   = netip.MustParseAddrPort("10.244.1.3:8080")
	three = netip.MustParseAddrPort("10.244.1.4:8080")
)

func TestAFrontendLeadsToWhatItsRulesAndMapsLeadTo(t *testing.T) {
	r := newRuleset()
	for _, m := range []message{
		elements(unix.NFT_MSG_NEWSETELEM, nodePortsMap, nodePort(here), verdict("external")),
		ruleMessage("external", 1, jump("masquerading")),
		ruleMessage("external", 2, jump("service")),
		elements(unix.NFT_MSG_NEWSETELEM, "__map0", "0", value(asValue(one))),
		ruleMessage("service", 3, numgen(1), lookup("__map0")),
	} {
		r.apply(m)
	}
	expect(t, "what is there", r, one)
	if n := r.announced(here); n != 1 {
		t.Errorf("%d endpoints announced", n)
	}

	r.apply(message{kind: unix.NFT_MSG_DELRULE, attrs: appendAttr(header("service"), unix.NFTA_RULE_HANDLE, handle(3))})
	expect(t, "after the end of the rule", r)

	anonymous := message{kind: unix.NFT_MSG_NEWSET, attrs: appendAttr(header("__map0"), unix.NFTA_SET_FLAGS, []byte{0, 0, 0, unix.NFT_SET_ANONYMOUS})}
	r.apply(anonymous)
	r.apply(elements(unix.NFT_MSG_NEWSETELEM, "__map0", "1", value(asValue(two))))
	r.apply(ruleMessage("service", 4, numgen(2), lookup("__map0")))
	expect(t, "with another map of the same name", r, two)

	addr, port := asValue(three)[:4], asValue(three)[4:6]
	r.apply(ruleMessage("service", 5, load(addr), load(port)))
	expect(t, "with a rule that has the endpoint in itself", r, two, three)

	r.apply(elements(unix.NFT_MSG_DELSETELEM, "__map0", "1", nil))
	expect(t, "after the end of the element", r, three)

	r.apply(elements(unix.NFT_MSG_NEWSETELEM, nodePortIPSet, "\x0a\x02\x00\x0a", nil))
	expect(t, "at an address that does not serve", r)
	r.apply(elements(unix.NFT_MSG_NEWSETELEM, nodePortIPSet, "\x0a\x01\x00\x0a", nil))
	expect(t, "at an address that does", r, three)

	r.apply(elements(unix.NFT_MSG_DELSETELEM, nodePortsMap, nodePort(here), nil))
	expect(t, "after the end of the node port", r)
}

func TestOthersTablesDoNotMatter(t *testing.T) {
	r := newRuleset()
	m := elements(unix.NFT_MSG_NEWSETELEM, nodePortsMap, nodePort(here), verdict("external"))
	copy(m.attrs[attrHeaderSize:], "kube-ipvs\x00")
	r.apply(m)
	if len(r.sets) > 0 {
		t.Error(r.sets)
	}
}

func TestTheWayThroughChainsInACircleEnds(t *testing.T) {
	r := newRuleset()
	r.apply(elements(unix.NFT_MSG_NEWSETELEM, nodePortsMap, nodePort(here), verdict("external")))
	r.apply(ruleMessage("external", 1, jump("external")))
	expect(t, "a circle", r)
}

// FuzzMessages takes any stream for what the kernel tells of a ruleset: it is read to its end, what is known is of it, and only what
// it has is an endpoint, each with the port that is there.
func FuzzMessages(f *testing.F) {
	serving := []message{
		elements(unix.NFT_MSG_NEWSETELEM, nodePortsMap, nodePort(here), verdict("external")),
		ruleMessage("external", 1, jump("service")), ruleMessage("external", 2, jump("external")), ruleMessage("external", 3, jump("external")),
		elements(unix.NFT_MSG_NEWSETELEM, "__map0", "0", value(asValue(one))), elements(unix.NFT_MSG_NEWSETELEM, "__map0", "1", value(asValue(two))),
		ruleMessage("service", 3, numgen(2), lookup("__map0")), ruleMessage("service", 4, load(asValue(three)[:4]), load(asValue(three)[4:6])),
	}
	for i := range serving {
		f.Add(onWire(serving[:i+1]...))
	}
	f.Add(onWire(append(serving, message{kind: unix.NFT_MSG_DELRULE, attrs: appendAttr(header("service"), unix.NFTA_RULE_HANDLE, handle(3))})...))
	f.Add(onWire(append(serving, elements(unix.NFT_MSG_DELSETELEM, "__map0", "1", nil))...))
	f.Fuzz(func(t *testing.T, stream []byte) {
		r, known := newRuleset(), 0
		for b := stream; len(b) > 0; {
			h, payload, rest, err := cutMessage(b)
			if err != nil {
				break
			}
			if len(rest) >= len(b) || len(payload)+headerSize+len(rest) > len(b) {
				t.Fatalf("%d and %d bytes are cut off %d", len(payload), len(rest), len(b))
			}
			if m, ok := asMessage(h, payload); ok {
				r.apply(m)
			}
			b = rest
		}
		for _, chain := range r.chains {
			known += len(chain)
		}
		for _, set := range r.sets {
			known += len(set)
		}
		if known > len(stream)/attrHeaderSize {
			t.Errorf("%d rules and elements are made of %d bytes", known, len(stream))
		}
		found := r.endpoints(here)
		if len(found) > 2*known*known || len(found) > 0 && r.external(here) == "" {
			t.Errorf("%x: %d endpoints of %d rules and elements", stream, len(found), known)
		}
		for e := range found {
			v := asValue(e)
			if !e.Addr().Is4() || !bytes.Contains(stream, []byte(v[:4])) || !bytes.Contains(stream, []byte(v[4:6])) || !r.has(here, e) {
				t.Errorf("%x has the endpoint %s", stream, e)
			}
		}
		if n := r.announced(here); n < 0 || !r.sameRules(r) {
			t.Errorf("%x: %d endpoints are announced", stream, n)
		}
	})
}

// onWire are messages as the kernel sends them.
func onWire(messages ...message) (stream []byte) {
	for _, m := range messages {
		size := headerSize + nfHeaderSize + len(m.attrs)
		b := binary.NativeEndian.AppendUint32(nil, uint32(size))
		b = binary.NativeEndian.AppendUint16(b, unix.NFNL_SUBSYS_NFTABLES<<8|uint16(m.kind))
		b = append(append(b, make([]byte, headerSize+nfHeaderSize-len(b))...), m.attrs...)
		stream = append(stream, append(b, make([]byte, align(size)-size)...)...)
	}
	return stream
}

func expect(t *testing.T, what string, r *ruleset, want ...netip.AddrPort) {
	t.Helper()
	got := r.endpoints(here)
	for _, e := range want {
		if !got[e] {
			t.Errorf("%s: %s is missing", what, e)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%s: %v, not %v", what, got, want)
	}
}

// header is the first two attributes of every message: the table, and what it is of.
func header(name string) []byte { return appendText(appendText(nil, 1, table), 2, name) }

func handle(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func ruleMessage(chain string, n uint64, expressions ...[]byte) message {
	var list []byte
	for _, e := range expressions {
		list = appendAttr(list, unix.NFTA_LIST_ELEM, e)
	}
	attrs := appendAttr(header(chain), unix.NFTA_RULE_HANDLE, handle(n))
	return message{kind: unix.NFT_MSG_NEWRULE, attrs: appendAttr(attrs, unix.NFTA_RULE_EXPRESSIONS|unix.NLA_F_NESTED, list)}
}

func elements(kind uint8, set, key string, data []byte) message {
	e := appendAttr(nil, unix.NFTA_SET_ELEM_KEY, value(key))
	if data != nil {
		e = appendAttr(e, unix.NFTA_SET_ELEM_DATA, data)
	}
	list := appendAttr(nil, unix.NFTA_LIST_ELEM, e)
	return message{kind: kind, attrs: appendAttr(header(set), unix.NFTA_SET_ELEM_LIST_ELEMENTS, list)}
}

func expression(name string, data []byte) []byte {
	return appendAttr(appendText(nil, unix.NFTA_EXPR_NAME, name), unix.NFTA_EXPR_DATA, data)
}

func lookup(set string) []byte {
	return expression("lookup", appendText(nil, unix.NFTA_LOOKUP_SET, set))
}

func numgen(n byte) []byte {
	return expression("numgen", appendAttr(nil, unix.NFTA_NG_MODULUS, []byte{0, 0, 0, n}))
}

func load(v string) []byte {
	return expression("immediate", appendAttr(nil, unix.NFTA_IMMEDIATE_DATA, value(v)))
}

func jump(chain string) []byte {
	return expression("immediate", appendAttr(nil, unix.NFTA_IMMEDIATE_DATA, verdict(chain)))
}

func verdict(chain string) []byte {
	return appendAttr(nil, unix.NFTA_DATA_VERDICT, appendText(nil, unix.NFTA_VERDICT_CHAIN, chain))
}

func value(v string) []byte { return appendAttr(nil, unix.NFTA_DATA_VALUE, []byte(v)) }

// asValue is an address and a port as maps have them.
func asValue(e netip.AddrPort) string {
	return string(append(e.Addr().AsSlice(), byte(e.Port()>>8), byte(e.Port()), 0, 0))
}
