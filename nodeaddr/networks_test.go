package nodeaddr

import (
	"net/netip"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func networks(t testing.TB, definitions ...string) Networks {
	t.Helper()
	n, err := ParseNetworks(definitions)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestParseNetworksAccepts(t *testing.T) {
	long := "a" + strings.Repeat("-0", 31)
	n := networks(t, "internal=10.0.0.0/8,iface:eth1", "dmz=primary", long+"=all", "a=iface:a=b,::/0", "iface=fd00::1/8")
	if diff := cmp.Diff([]string{"a", long, "dmz", "iface", "internal"}, n.Names()); diff != "" {
		t.Errorf("names (-want +got)\n%s", diff)
	}
	for name, want := range map[string]string{
		"internal": "10.0.0.0/8,iface:eth1", "dmz": "primary", long: "all", "a": "iface:a=b,::/0", "iface": "fd00::/8",
	} {
		if got := n[name].String(); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if none := networks(t); len(none) != 0 {
		t.Errorf("no definition defines %v", none)
	}
}

// Each part of the error must name its definition and say what to write instead.
func TestParseNetworksRefusesWithAMend(t *testing.T) {
	for _, tc := range []struct {
		name string
		in   []string
		want []string
	}{
		{"no equals sign", []string{"internal"}, []string{`"internal": write NAME=ENTRY,..., for example internal=10.0.0.0/8,iface:eth1`}},
		{"nothing", []string{""}, []string{`"": write NAME=ENTRY`}},
		{"no name", []string{"=all"}, []string{`"=all": "" cannot be a name: up to 63 lower-case letters`}},
		{"an upper-case letter", []string{"Internal=all"}, []string{`"Internal" cannot be a name`}},
		{"a digit first", []string{"1a=all"}, []string{`a letter first`}},
		{"a dash last", []string{"a-=all"}, []string{`"a-" cannot be a name`}},
		{"64 letters", []string{strings.Repeat("a", 64) + "=all"}, []string{"up to 63"}},
		{"a dot, as interfaces have", []string{"eth0.100=all"}, []string{`"eth0.100" cannot be a name`}},
		{"a name on a line of its own", []string{"a\n=all"}, []string{`"a\n" cannot be a name`}},
		{"what has a meaning of its own", []string{"primary=all", "all=all", "localhost=all", "none=all"}, []string{
			`"primary=all": the name has a meaning of its own: choose another one`, `"all=all"`, `"localhost=all"`, `"none=all"`,
		}},
		{"two names in one", []string{"a=10.0.0.0/8, b=iface:eth1"}, []string{`"a=10.0.0.0/8, b=iface:eth1": a second name is in it: write one flag for each name`}},
		{"a name twice", []string{"a=all", "a=primary"}, []string{`"a=primary": is defined twice: put all of its entries into one definition`}},
		{"no entry", []string{"a="}, []string{`"a=": "": empty entry`}},
		{"a bad entry", []string{"a=10.0.0.1"}, []string{"write 10.0.0.1/32"}},
		{"the name of another network", []string{"a=all", "b=a"}, []string{`"b=a": "a": not an address`}},
		{"all that is wrong at once", []string{"a=eth0", "ok=all", "B=all"}, []string{`write "iface:eth0"`, `"B" cannot be`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n, err := ParseNetworks(tc.in)
			if err == nil || n != nil {
				t.Fatalf("accepted as %v, %v", n, err)
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
		})
	}
}

// parsed is what somebody who writes text gets.
type parsed struct{ Spec, Undefined, Err string }

func TestAuthorsOfServicesWriteNamesAndEntries(t *testing.T) {
	n := networks(t, "internal=10.0.0.0/8,iface:eth1", "eth1=fd00::/8", "dmz=iface:eth1,primary")
	for _, tc := range []struct {
		name, in string
		want     parsed
	}{
		{"a name", "internal", parsed{Spec: "10.0.0.0/8,iface:eth1"}},
		{"names that share an entry", "internal,dmz", parsed{Spec: "10.0.0.0/8,iface:eth1,primary"}},
		{"a network", "192.0.2.1/24", parsed{Spec: "192.0.2.0/24"}},
		{"a pattern", "iface:eth*", parsed{Spec: "iface:eth*"}},
		{"words that are known everywhere", "primary,all", parsed{Spec: "primary,all"}},
		{"blanks, and one entry twice", " dmz , primary , dmz ", parsed{Spec: "iface:eth1,primary"}},
		{"a name that an interface has too", "eth1", parsed{Spec: "fd00::/8"}},
		{"a name that is not defined here", "storage", parsed{Undefined: "storage"}},
		{"one that is beside one that is not", "storage,internal,lan", parsed{Spec: "10.0.0.0/8,iface:eth1", Undefined: "storage,lan"}},
		{"nothing", "", parsed{Err: `"": empty entry`}},
		{"a comma too many", "internal,", parsed{Err: `"": empty entry`}},
		{"a bare address", "10.0.0.1", parsed{Err: `"10.0.0.1": a single address needs its length: write 10.0.0.1/32`}},
		{"an upper-case letter", "Internal", parsed{Err: `"Internal": names of networks are in lower case; for an interface write "iface:Internal"`}},
		{"words that no node can mean", "none,localhost", parsed{Err: `"none": to serve no address`}},
		{"a bad entry beside good ones", "internal,iface:[,storage", parsed{Err: `"iface:[": syntax error in pattern`}},
		{"a definition", "a=10.0.0.0/8", parsed{Err: `"a=10.0.0.0/8": not a CIDR`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			spec, undefined, err := n.Parse(tc.in)
			got := parsed{Spec: spec.String(), Undefined: strings.Join(undefined, ",")}
			if err != nil {
				got.Err = err.Error()
				if tc.want.Err != "" && strings.HasPrefix(got.Err, tc.want.Err) {
					got.Err = tc.want.Err
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
	if got := n["internal"].String(); got != "10.0.0.0/8,iface:eth1" {
		t.Errorf("the definition became %q", got)
	}
}

func TestEveryBadEntryOfANetworksValueIsNamed(t *testing.T) {
	_, _, err := Networks{}.Parse("10.0.0.1,all,A B")
	if err == nil || !strings.Contains(err.Error(), `"10.0.0.1"`) || !strings.Contains(err.Error(), `"A B"`) {
		t.Errorf("got %v", err)
	}
}

// place reads "ADDRESS INTERFACE... primary".
func place(text string) Place {
	fields := strings.Fields(text)
	p := Place{Addr: netip.MustParseAddr(fields[0])}
	for _, f := range fields[1:] {
		if f == "primary" {
			p.Primary = true
		} else {
			p.Interfaces = append(p.Interfaces, f)
		}
	}
	return p
}

func places(texts ...string) []Place {
	out := []Place{}
	for _, text := range texts {
		out = append(out, place(text))
	}
	return out
}

func TestPlaces(t *testing.T) {
	before := places("10.1.0.10 old primary", "10.2.0.10 eth1 eth9")
	for _, tc := range []struct {
		name, serving, all, primary string
		want                        []Place
	}{
		{"nothing serves", "", "eth0 10.1.0.10/24", "10.1.0.10", places()},
		{"one interface", "10.1.0.10", "eth0 10.1.0.10/24\neth1 10.2.0.10/24", "", places("10.1.0.10 eth0")},
		{"the order of what serves", "10.2.0.10 10.1.0.10", "eth0 10.1.0.10/24\neth1 10.2.0.10/24", "", places("10.2.0.10 eth1", "10.1.0.10 eth0")},
		{"several interfaces, in order and once", "10.1.0.10", "eth2 10.1.0.10/32\neth0 10.1.0.10/24\neth2 10.1.0.10/24", "", places("10.1.0.10 eth0 eth2")},
		{"primary", "10.1.0.10 10.2.0.10 fd01::10", "eth0 10.1.0.10/24\neth1 10.2.0.10/24\neth0 fd01::10/64", "10.1.0.10 fd01::10", places("10.1.0.10 eth0 primary", "10.2.0.10 eth1", "fd01::10 eth0 primary")},
		{"primary in IPv6 notation", "10.1.0.10", "eth0 10.1.0.10/24", "::ffff:10.1.0.10", places("10.1.0.10 eth0 primary")},
		{"one that vanished keeps its interfaces", "10.2.0.10", "eth0 10.1.0.10/24", "", places("10.2.0.10 eth1 eth9")},
		{"but not what made it primary", "10.1.0.10", "eth1 10.2.0.10/24", "", places("10.1.0.10 old")},
		{"one that moved forgets them", "10.2.0.10", "eth0 10.2.0.10/24", "", places("10.2.0.10 eth0")},
		{"one that nobody knows of", "192.0.2.1", "eth0 10.1.0.10/24", "", places("192.0.2.1")},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := Places(addrs(tc.serving), addresses(tc.all), addrs(tc.primary), before)
			if diff := cmp.Diff(tc.want, got, cmpAddr); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
	if diff := cmp.Diff(places("10.1.0.10 old primary", "10.2.0.10 eth1 eth9"), before, cmpAddr); diff != "" {
		t.Errorf("before was changed (-want +got)\n%s", diff)
	}
}

// The addresses of a manifest's Node have no interface.
func TestPlaceOfAnAddressWithoutAnInterfaceHasNone(t *testing.T) {
	addr := netip.MustParseAddr("10.1.0.10")
	got := Places([]netip.Addr{addr}, []Address{{Addr: addr, PrefixLen: 32}}, nil, nil)
	if diff := cmp.Diff(places("10.1.0.10"), got, cmpAddr); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestPlacesDifferInWhatASpecMayAsk(t *testing.T) {
	p := place("10.1.0.10 eth0 eth1 primary")
	if !p.Equal(place("10.1.0.10 eth0 eth1 primary")) {
		t.Error("a place is not equal to itself")
	}
	for _, other := range []string{"10.1.0.11 eth0 eth1 primary", "10.1.0.10 eth0 eth1", "10.1.0.10 eth0 primary", "10.1.0.10 eth1 eth0 primary"} {
		if p.Equal(place(other)) {
			t.Errorf("%q is the same", other)
		}
	}
}

func TestSelects(t *testing.T) {
	for _, tc := range []struct {
		name, spec, place string
		want              bool
	}{
		{"a network that has it", "10.0.0.0/8", "10.1.0.10", true},
		{"a network that has it not", "10.2.0.0/16", "10.1.0.10", false},
		{"a network of the other family", "::/0", "10.1.0.10", false},
		{"its interface", "iface:eth0", "10.1.0.10 eth0", true},
		{"another interface", "iface:eth1", "10.1.0.10 eth0", false},
		{"one of its interfaces", "iface:eth1", "10.1.0.10 eth0 eth1", true},
		{"a pattern", "iface:eth?", "10.1.0.10 eth0", true},
		{"a pattern for anything, where the interface is not known", "iface:*", "10.1.0.10", false},
		{"primary", "primary", "10.1.0.10 eth0 primary", true},
		{"not primary", "primary", "10.1.0.10 eth0", false},
		{"all", "all", "fd01::10", true},
		{"the second entry", "iface:eth1,10.1.0.0/16", "10.1.0.10 eth0", true},
		{"no entry", "iface:eth1,primary,fd00::/8", "10.1.0.10 eth0", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			spec, err := ParseSpec([]string{tc.spec})
			if err != nil {
				t.Fatal(err)
			}
			if got := spec.Selects(place(tc.place)); got != tc.want {
				t.Errorf("%v", got)
			}
		})
	}
	if (Spec{}).Selects(place("10.1.0.10 eth0 primary")) {
		t.Error("a spec without entries selects an address")
	}
}

// Of what serves, a Service that writes the operator's own entries is served on all: nothing is lost between the two ways
// to choose.
func TestSelectsAgreesWithSelect(t *testing.T) {
	all := addresses(node)
	rapid.Check(t, func(t *rapid.T) {
		spec, err := ParseSpec(rapid.SliceOfN(rapid.SampledFrom([]string{
			"primary", "all", "iface:eth0", "iface:eth*", "iface:lo", "iface:kube*", "10.1.0.0/16", "10.2.0.10/32", "fd00::/8",
		}), 1, 3).Draw(t, "spec"))
		if err != nil {
			t.Fatal(err)
		}
		here := rapid.SliceOf(rapid.SampledFrom(all)).Draw(t, "addresses")
		primary := rapid.SliceOf(rapid.SampledFrom(addrs("10.1.0.10 fd01::10 10.9.9.9"))).Draw(t, "primary")
		everything, err := ParseSpec([]string{"all"})
		if err != nil {
			t.Fatal(err)
		}
		usable, _ := everything.Select(here, primary)
		var selected []netip.Addr
		for _, p := range Places(usable, slices.DeleteFunc(slices.Clone(here), func(a Address) bool { return a.Unusable() != "" }), primary, nil) {
			if spec.Selects(p) {
				selected = append(selected, p.Addr)
			}
		}
		if want, _ := spec.Select(here, primary); !slices.Equal(selected, want) {
			t.Fatalf("%s: a Service gets %v, the node %v", spec, selected, want)
		}
	})
}

// drawPlace is an address that serves, anywhere.
func drawPlace(t *rapid.T) Place {
	return Place{
		Addr:       rapid.SampledFrom(addrs("10.1.0.10 10.2.0.10 192.0.2.1 fd01::10 2001:db8::1")).Draw(t, "address"),
		Interfaces: slices.Sorted(slices.Values(rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"eth0", "eth1", "dmz0"}), 0, 2, rapid.ID[string]).Draw(t, "interfaces"))),
		Primary:    rapid.Bool().Draw(t, "primary"),
	}
}

// said is an independent reading of what one entry or name says of a place.
func said(n map[string]string, entry string, p Place) bool {
	entry = strings.TrimSpace(entry)
	if list, defined := n[entry]; defined {
		return slices.ContainsFunc(strings.Split(list, ","), func(e string) bool { return said(nil, e, p) })
	}
	if glob, is := strings.CutPrefix(entry, "iface:"); is {
		return slices.ContainsFunc(p.Interfaces, func(name string) bool { ok, _ := path.Match(glob, name); return ok })
	}
	if prefix, err := netip.ParsePrefix(entry); err == nil {
		return prefix.Contains(p.Addr)
	}
	return entry == "all" || entry == "primary" && p.Primary
}

var operatorNetworks = map[string]string{"internal": "10.0.0.0/8,iface:eth1", "dmz": "iface:dmz*,primary", "v6": "::/0"}

func definitions() []string {
	var list []string
	for name, entries := range operatorNetworks {
		list = append(list, name+"="+entries)
	}
	return list
}

// A name means what its entries mean, a list means what any of it means, and what serves the Service serves anyway.
func TestNetworksNarrow(t *testing.T) {
	n := networks(t, definitions()...)
	rapid.Check(t, func(t *rapid.T) {
		entries := rapid.SliceOfN(rapid.SampledFrom([]string{
			"internal", "dmz", "v6", "lan", "10.1.0.0/16", "192.0.2.0/24", "fd00::/8", "iface:eth0", "iface:eth?", "primary", "all",
		}), 1, 4).Draw(t, "entries")
		spec, undefined, err := n.Parse(strings.Join(entries, rapid.SampledFrom([]string{",", " , "}).Draw(t, "comma")))
		if err != nil {
			t.Fatal(err)
		}
		if slices.Contains(entries, "lan") != slices.Contains(undefined, "lan") {
			t.Fatalf("of %q %q are not defined", entries, undefined)
		}
		for _, p := range rapid.SliceOf(rapid.Custom(drawPlace)).Draw(t, "places") {
			want := slices.ContainsFunc(entries, func(e string) bool { return said(operatorNetworks, e, p) })
			if got := spec.Selects(p); got != want {
				t.Fatalf("%q selects %v: %v, want %v", entries, p, got, want)
			}
		}
	})
}

func FuzzParseNetworks(f *testing.F) {
	for _, seed := range []string{"internal=10.0.0.0/8,iface:eth1", "a=all", "=all", "a", "a==", "a=iface:=", "A=all", "a\n=all", "primary=all", "a=\x00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		n, err := ParseNetworks([]string{in})
		if err != nil {
			if n != nil {
				t.Errorf("%q: both networks %v and an error %v", in, n, err)
			}
			return
		}
		for name, spec := range n {
			again, err := ParseNetworks([]string{name + "=" + spec.String()})
			if err != nil || !again[name].Equal(spec) || len(n) != 1 {
				t.Errorf("%q is %s=%s, which reads back as %v, %v", in, name, spec, again, err)
			}
			used, undefined, err := n.Parse(name)
			if err != nil || len(undefined) != 0 || !used.Equal(spec) {
				t.Errorf("%q: whoever writes %q gets %q, %q, %v", in, name, used, undefined, err)
			}
		}
	})
}

func FuzzNetworksParse(f *testing.F) {
	for _, seed := range []string{"internal,dmz", "lan", "10.0.0.1", "all", " v6 ,", "iface:*", "iface:[", "::ffff:0:0/96", "0.0.0.0/0", "Primary", "internal\n"} {
		f.Add(seed)
	}
	n := networks(f, definitions()...)
	where := places("10.1.0.10 eth0 primary", "10.2.0.10 eth1", "192.0.2.1", "fd01::10 dmz0 eth0", "2001:db8::1 primary")
	f.Fuzz(func(t *testing.T, in string) {
		spec, undefined, err := n.Parse(in)
		if err != nil && (!spec.Equal(Spec{}) || undefined != nil) {
			t.Fatalf("%q: a spec %q, names %q, and an error %v", in, spec, undefined, err)
		}
		if err == nil && !spec.Equal(Spec{}) {
			if again, err := ParseSpec([]string{spec.String()}); err != nil || !again.Equal(spec) {
				t.Errorf("%q is %q, which reads back as %q, %v", in, spec, again, err)
			}
		}
		for _, name := range undefined {
			if _, defined := n[name]; defined || checkNetworkName(name) != nil {
				t.Errorf("%q: %q is not defined", in, name)
			}
		}
		for _, p := range where {
			if spec.Selects(p) && !slices.ContainsFunc(strings.Split(in, ","), func(e string) bool { return said(operatorNetworks, e, p) }) {
				t.Errorf("%q selects %v, which none of its entries says", in, p)
			}
		}
	})
}
