package allocator_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/kube-ipvs/kube-ipvs/allocator"
)

func ports(t *testing.T, text string) *allocator.Ports {
	t.Helper()
	p, err := allocator.ParsePorts(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPortsAreReadAndWrittenAsTheKernelDoes(t *testing.T) {
	for _, c := range []struct {
		text, back string
		n          int
	}{
		{"", "", 0},
		{"\n", "", 0},
		{"80,443,30000-32767\n", "80,443,30000-32767", 2770},
		{"0\n", "0", 1},
		{"0-65535", "0-65535", 65536},
		{"63-64,65535", "63-64,65535", 3},
		{"443,80,81,82", "80-82,443", 4}, // not as the kernel writes, but as people do
		{"1-10,5-20,21,7", "1-21", 21},   // overlapping, adjacent
		{"65534-65535,0", "0,65534-65535", 3},
	} {
		p := ports(t, c.text)
		if p.String() != c.back || p.Len() != c.n {
			t.Errorf("%q is written %q and has %d ports, want %q and %d", c.text, p, p.Len(), c.back, c.n)
		}
	}
}

func TestPortsThatCannotBeReadAreAnError(t *testing.T) {
	for text, want := range map[string]string{
		"80,,443":     `ports "80,,443": "" is not a port number: write FIRST-LAST, for example 30000-32767`,
		"80,":         `ports "80,": "" is not a port number: write FIRST-LAST, for example 30000-32767`,
		"80 443":      `ports "80 443": "80 443" is not a port number: write FIRST-LAST, for example 30000-32767`,
		"80,443-":     `ports "80,443-": "" is not a port number: write FIRST-LAST, for example 30000-32767`,
		"30000+5":     `ports "30000+5": "30000+5" is not a port number: write FIRST-LAST, for example 30000-32767`,
		"443-80":      `ports "443-80": it ends before it begins: write 80-443`,
		"65535-65536": `ports "65535-65536": 65536 is above 65535, the highest port: write FIRST-LAST, for example 30000-32767`,
	} {
		if p, err := allocator.ParsePorts(text); p != nil || err == nil || err.Error() != want {
			t.Errorf("%q is read as %v, %v, want %s", text, p, err, want)
		}
	}
}

func TestFreePortsAreTheLowestThatAreNotInTheSet(t *testing.T) {
	taken := ports(t, "30000-30002,30004,32000")
	for _, c := range []struct {
		of   allocator.Range
		n    int
		want []uint16
	}{
		{allocator.Range{First: 30000, Last: 30085}, 3, []uint16{30003, 30005, 30006}},
		{allocator.Range{First: 30000, Last: 30004}, 3, []uint16{30003}},
		{allocator.Range{First: 30000, Last: 30002}, 3, nil},
		{allocator.Range{First: 30000, Last: 30085}, 0, nil},
		{allocator.Range{First: 30000, Last: 30085}, -1, nil},
		{allocator.Range{First: 0, Last: 2}, 3, []uint16{1, 2}},
		{allocator.Range{First: 65534, Last: 65535}, 3, []uint16{65534, 65535}},
		{allocator.Range{First: 1, Last: 0}, 3, nil},
	} {
		if got := taken.Free(c.of, c.n); !slices.Equal(got, c.want) {
			t.Errorf("%d free ports of %q: %v, want %v", c.n, c.of, got, c.want)
		}
	}
}

func TestSetsOfPortsAreMadeWithoutChangingTheOthers(t *testing.T) {
	a, b := ports(t, "80,30000-30010"), ports(t, "443,30005-30020")
	for _, c := range []struct {
		what, want string
		got        *allocator.Ports
	}{
		{"a or b", "80,443,30000-30020", a.Union(b)},
		{"a without b", "80,30000-30004", a.Minus(b)},
		{"b without a", "443,30011-30020", b.Minus(a)},
		{"a", "80,30000-30010", a},
		{"b", "443,30005-30020", b},
	} {
		if c.got.String() != c.want {
			t.Errorf("%s is %s, want %s", c.what, c.got, c.want)
		}
	}
	if a.Equal(b) || !a.Union(b).Equal(b.Union(a)) {
		t.Errorf("%s equals %s: %v", a, b, a.Equal(b))
	}
}

// The model is a map.
func TestPortsEqualAMap(t *testing.T) {
	// Few words, whose edges are met.
	port := rapid.OneOf(rapid.Uint16Range(0, 130), rapid.Uint16Range(65400, 65535))
	rapid.Check(t, func(t *rapid.T) {
		p, m := new(allocator.Ports), map[uint16]bool{}
		for _, n := range rapid.SliceOf(port).Draw(t, "ports") {
			p.Add(n)
			m[n] = true
		}
		r := allocator.Range{First: port.Draw(t, "first"), Last: port.Draw(t, "last")}
		count := 0
		for n := range 65536 {
			if p.Has(uint16(n)) != m[uint16(n)] {
				t.Fatalf("port %d: %v, want %v", n, p.Has(uint16(n)), m[uint16(n)])
			}
			if m[uint16(n)] && r.Contains(uint16(n)) {
				count++
			}
		}
		if p.Len() != len(m) || p.Count(r) != count {
			t.Fatalf("%s: %d ports, %d of %s, want %d and %d", p, p.Len(), p.Count(r), r, len(m), count)
		}
		p.AddRange(r)
		if got := p.Count(r); got != r.Size() {
			t.Fatalf("%s: %d ports of %s, want %d", p, got, r, r.Size())
		}
		if free := p.Free(r, 1); free != nil && r.First != 0 {
			t.Fatalf("%s: %d of %s is free", p, free, r)
		}
		again, err := allocator.ParsePorts(p.String())
		if err != nil || !again.Equal(p) {
			t.Fatalf("%s is read as %s, %v", p, again, err)
		}
		ranges := p.Ranges()
		for i := 1; i < len(ranges); i++ {
			if int(ranges[i-1].Last)+1 >= int(ranges[i].First) {
				t.Fatalf("%s: %s and %s could be one", p, ranges[i-1], ranges[i])
			}
		}
	})
}

func FuzzParsePorts(f *testing.F) {
	for _, seed := range []string{"", "\n", "80,443,30000-32767\n", "0-65535", "0", "5-1", ",", "1-2-3", "1,1-1", "65536"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := allocator.ParsePorts(text)
		if err != nil {
			return
		}
		if again, err := allocator.ParsePorts(p.String()); err != nil || !again.Equal(p) {
			t.Errorf("%q is read as %s, and that as %s, %v", text, p, again, err)
		}
	})
}
