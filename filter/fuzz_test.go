package filter

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"sigs.k8s.io/knftables"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// FuzzListing takes whatever nft prints: what is read of it can be written, and is read again as it was.
func FuzzListing(f *testing.F) {
	f.Add([]byte(printed))
	f.Add([]byte(strings.ReplaceAll(printedList, "ID", Nobody().ID())))
	f.Add([]byte(strings.ReplaceAll(printedList, "ID", NewSources(nil, []netip.Prefix{netip.MustParsePrefix("10.9.0.1/32"), netip.MustParsePrefix("10.244.1.0/24"), netip.MustParsePrefix("::/0")}).ID())))
	f.Add([]byte(`{"nftables": [{"map": {"name": "masquerade-ipv4-tcp", "elem": [["alone"]]}}]}`))
	f.Add([]byte(`{"nftables": [{"set": {"name": "pods-ipv6", "elem": ["fd44::1", {"prefix": {"addr": "fd44::", "len": 64}}, {"prefix": {"addr": "fd44::", "len": 640}}]}}]}`))
	f.Add([]byte(`{"nftables": [{"set": {"name": "pods-ipv4", "elem": [{"prefix": {"addr": "10.0.0.0", "len": 16}}]}}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		l, err := parseListing(text)
		if err != nil {
			return
		}
		elements := 0
		for name, list := range l.elements {
			if elements += len(list); l.types[name] == "" {
				t.Errorf("%q has elements and is no set", name)
			}
		}
		state := l.state(match{})
		if n := checkRules(t, state.Rules) + len(state.Stray); n > elements || elements > len(text) {
			t.Errorf("%d elements are made of %d, and those of %d bytes", n, elements, len(text))
		}
		for _, p := range state.Rules.Pods {
			if !bytes.Contains(text, []byte(`\`)) && !p.IsSingleIP() && !bytes.Contains(text, strconv.AppendInt(nil, int64(p.Bits()), 10)) {
				t.Errorf("%q has the network %s", text, p)
			}
		}
		again, err := parseListing(printRules(t, state.Rules))
		if err != nil {
			t.Fatal(err)
		}
		if second := again.state(match{}); !second.Rules.Equal(state.Rules) || len(second.Stray) > 0 {
			t.Errorf("%+v is read again as %+v, and what cannot be read is %q", state.Rules, second.Rules, second.Stray)
		}
	})
}

// checkRules: nobody has to look twice at what was read. It counts what there is.
func checkRules(t *testing.T, r Rules) int {
	t.Helper()
	keys := slices.Concat(r.Owned.Keys(), r.Internal.Keys())
	for key, m := range r.Masquerade {
		if keys = append(keys, key); m == MasqueradeNone || m > MasqueradeAll {
			t.Errorf("%s has masquerade %s", key, m)
		}
	}
	for key, s := range r.Sources {
		if keys = append(keys, key); s == nil || s.validate() != nil {
			t.Errorf("%s has sources %v", key, s)
		}
	}
	for _, key := range keys {
		if err := key.Validate(); err != nil {
			t.Errorf("%s: %v", key, err)
		}
	}
	for _, p := range r.Pods {
		if err := validatePrefix(p); err != nil {
			t.Error(err)
		}
	}
	if !slices.Equal(r.Pods, NormalPrefixes(r.Pods)) {
		t.Errorf("pods have %v", r.Pods)
	}
	return len(keys) + len(r.Pods)
}

// printRules prints rules as nft does.
func printRules(t *testing.T, r Rules) []byte {
	t.Helper()
	elements := map[string][]any{}
	add := func(e *knftables.Element) {
		var key any
		if len(e.Key) > 1 {
			key = map[string]any{"concat": e.Key}
		} else if p := netip.MustParsePrefix(e.Key[0]); p.IsSingleIP() {
			key = p.Addr().String()
		} else {
			key = map[string]any{"prefix": map[string]any{"addr": p.Addr().String(), "len": p.Bits()}}
		}
		if len(e.Value) > 0 {
			verb, chain, _ := strings.Cut(e.Value[0], " ")
			key = []any{key, map[string]any{verb: map[string]any{"target": chain}}}
		}
		elements[e.Set+e.Map] = append(elements[e.Set+e.Map], key)
	}
	for key := range r.Owned {
		add(ownedSet(key.Addr.Is4()).element(key))
	}
	for key := range r.Internal {
		add(internalSet(key.Addr.Is4()).element(key))
	}
	for key, m := range r.Masquerade {
		add(masqueradeElement(key, m))
	}
	for _, p := range r.Pods {
		add(podsSet(p.Addr().Is4()).prefix(p))
	}
	all := containers()
	var objects []any
	for key, s := range r.Sources {
		add(sourcesElement(key, s))
	}
	for _, s := range listsOf(r.Sources) {
		objects = append(objects, map[string]any{"chain": map[string]any{"name": s.chain().Name}})
		for _, c := range s.sets() {
			all = append(all, c)
			for _, p := range s.in(c) {
				add(c.prefix(p))
			}
		}
	}
	for _, c := range all {
		objects = append(objects, map[string]any{c.objectType(): map[string]any{"name": c.name(), "elem": elements[c.name()]}})
	}
	text, err := json.Marshal(map[string]any{"nftables": objects})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// FuzzKernelElement takes any bytes for an element of a set and for what nft keeps with a rule: what is read was in them, and
// written again it is read as the same.
func FuzzKernelElement(f *testing.F) {
	key := attributes(unix.NFTA_DATA_VALUE, []byte{10, 1, 0, 10, 0x75, 0x80, 0, 0})
	f.Add(attributes(unix.NFTA_SET_ELEM_KEY, key), []byte{0, 2, 'x', 0})
	f.Add(attributes(unix.NFTA_SET_ELEM_KEY, attributes(unix.NFTA_DATA_VALUE, []byte{10, 1, 0, 10, 6, 0, 0, 0, 0x75, 0x80, 0, 0})), []byte{1, 1, 0, 0, 1, 'x'})
	f.Add(attributes(unix.NFTA_SET_ELEM_KEY, attributes(unix.NFTA_DATA_VALUE, []byte{10, 1, 0, 0})), []byte{10, 1, 1, 0})
	f.Add(attributes(unix.NFTA_SET_ELEM_KEY, key, unix.NFTA_SET_ELEM_DATA, verdictAttributes("goto masquerade-all")), []byte{0, 200, 'x'})
	f.Add(attributes(unix.NFTA_SET_ELEM_FLAGS, []byte{0, 0, 0, unix.NFT_SET_ELEM_INTERVAL_END}, unix.NFTA_SET_ELEM_KEY, key), []byte{0})
	f.Fuzz(func(t *testing.T, element, userdata []byte) {
		if comment := commentOf(userdata); comment != nil && (len(*comment) > math.MaxUint8 || !bytes.Contains(userdata, []byte(*comment))) {
			t.Errorf("%q has the comment %q", userdata, *comment)
		}
		e, err := parseElement(element)
		if err != nil {
			return
		}
		verb, chain, _ := strings.Cut(e.value, " ")
		if !bytes.Contains(element, e.key) || !bytes.Contains(element, []byte(chain)) || !slices.Contains([]string{"", "jump", "goto"}, verb) {
			t.Errorf("%x is read as %+v", element, e)
		}
		if again, err := parseElement(elementAttributes(e)); err != nil || !again.equal(e) {
			t.Errorf("%+v is read again as %+v, %v", e, again, err)
		}
		for _, c := range containers() {
			if c.kind != pods {
				checkKey(t, c, e)
				continue
			}
			begin, end := kernelElement{key: e.key}, kernelElement{key: userdata, ends: true}
			list, err := c.prefixesFrom([]kernelElement{end, begin})
			if err != nil || len(list) == 0 {
				continue
			}
			want := []kernelElement{begin, end}
			if bytes.Compare(end.key, begin.key) <= 0 {
				want = want[:1] // what ends before is another one, that has no beginning
			}
			p, err := netip.ParsePrefix(list[0].Key[0])
			if err != nil || len(list) > 1 || !slices.EqualFunc(borders([]netip.Prefix{p}), want, kernelElement.equal) {
				t.Errorf("from %x to %x there are %v", e.key, userdata, p)
			}
		}
	})
}

// checkKey: the parts of a key have all of its bytes but those that only fill it up.
func checkKey(t *testing.T, c container, e kernelElement) {
	t.Helper()
	list, err := c.fromKernel([]kernelElement{e})
	if err != nil {
		return
	}
	parts := list[0].Key
	addr, _ := netip.AddrFromSlice(e.key[:c.addrSize()])
	port := strconv.Itoa(int(binary.BigEndian.Uint16(e.key[len(e.key)-4:])))
	if parts[0] != addr.String() || parts[len(parts)-1] != port {
		t.Errorf("%s: %x is read as %q", c.name(), e.key, parts)
	}
	var rules Rules
	rules.init()
	if c.kind == sources || c.enter(list[0], &rules) != nil {
		return // which no agent writes
	}
	if c.kind == masquerade {
		for key := range rules.Masquerade {
			parts = []string{parts[0], key.Protocol.String(), parts[1]}
		}
	}
	protocol, err := frontend.ParseProtocol(parts[1])
	if n := checkRules(t, rules); err != nil || n != 1 || c.kind != masquerade && byte(protocol) != e.key[c.addrSize()] {
		t.Errorf("%s: %x is read as %q, which are %d frontends", c.name(), e.key, parts, n)
	}
}

// elementAttributes are those of an element as the kernel writes it.
func elementAttributes(e kernelElement) []byte {
	pairs := []any{unix.NFTA_SET_ELEM_KEY, attributes(unix.NFTA_DATA_VALUE, e.key)}
	if e.ends {
		pairs = append(pairs, unix.NFTA_SET_ELEM_FLAGS, []byte{0, 0, 0, unix.NFT_SET_ELEM_INTERVAL_END})
	}
	if e.value != "" {
		pairs = append(pairs, unix.NFTA_SET_ELEM_DATA, verdictAttributes(e.value))
	}
	return attributes(pairs...)
}

func verdictAttributes(value string) []byte {
	verb, chain, _ := strings.Cut(value, " ")
	code := int32(unix.NFT_GOTO)
	if verb == "jump" {
		code = unix.NFT_JUMP
	}
	return attributes(unix.NFTA_DATA_VERDICT, attributes(
		unix.NFTA_VERDICT_CODE, binary.BigEndian.AppendUint32(nil, uint32(code)), unix.NFTA_VERDICT_CHAIN, append([]byte(chain), 0)))
}

// FuzzAttributesNeverReadBeyondTheMessage takes any event: what is behind it in the buffer changes nothing, and its attributes
// written one by one are the same attributes.
func FuzzAttributesNeverReadBeyondTheMessage(f *testing.F) {
	f.Add(message(unix.NFPROTO_INET, 1, []byte("kube-ipvs\x00")))
	f.Add(append(message(unix.NFPROTO_INET, 3, []byte{1, 2, 3, 4}), message(0, 1, []byte("kube-ipvs\x00"))[4:]...))
	f.Add(message(unix.NFPROTO_INET, 1, []byte("kube-ipvs\x00"))[:12])
	f.Add([]byte{1, 0, 0, 0, 0, 0, 1, 0})
	f.Add(message(unix.NFPROTO_INET, 1|unix.NLA_F_NESTED, []byte{1, 2, 3, 4}))
	f.Fuzz(func(t *testing.T, msg []byte) {
		alone := slices.Clip(bytes.Clone(msg))
		among := append(bytes.Clone(msg), bytes.Repeat([]byte("kube-ipvs\x00\xff"), 100)...)[:len(msg)]
		id, err := generationID(alone)
		if other, otherErr := generationID(among); other != id || (otherErr == nil) != (err == nil) || concernsUs(among) != concernsUs(alone) {
			t.Errorf("%x: what is behind it is read: generation %d and %d, ours %v and %v", msg, id, other, concernsUs(alone), concernsUs(among))
		}
		if err == nil && !bytes.Contains(msg, binary.BigEndian.AppendUint32(nil, id)) {
			t.Errorf("%x has the generation %d", msg, id)
		}
		if concernsUs(alone) && (msg[0] != unix.NFPROTO_INET || !bytes.Contains(msg, []byte(Name))) {
			t.Errorf("%x is ours", msg)
		}
		found, size := walk(t, among[min(4, len(among)):])
		if size > len(msg) {
			t.Errorf("%x has attributes of %d bytes", msg, size)
		}
		if again, _ := walk(t, attributes(found...)); !slices.EqualFunc(found, again, sameAttribute) {
			t.Errorf("%x: %v is read again as %v", msg, found, again)
		}
	})
}

// walk lists kinds and values, and how many bytes they take at least.
func walk(t *testing.T, all []byte) (found []any, size int) {
	t.Helper()
	_ = eachAttribute(all, func(kind uint16, value []byte) error {
		if kind&(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER) != 0 {
			t.Errorf("%x has an attribute of kind %#x", all, kind)
		}
		found, size = append(found, int(kind), value), size+unix.SizeofNlAttr+len(value)
		return nil
	})
	return found, size
}

func sameAttribute(a, b any) bool {
	x, isBytes := a.([]byte)
	y, areBytes := b.([]byte)
	return isBytes == areBytes && bytes.Equal(x, y) && (isBytes || a == b)
}
