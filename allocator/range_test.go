package allocator_test

import (
	"strings"
	"testing"

	"github.com/kube-ipvs/kube-ipvs/allocator"
)

func TestRangeIsReadAsTheAPIServerReadsIt(t *testing.T) {
	for _, c := range []struct {
		text string
		want allocator.Range
		size int
		back string
	}{
		{"30000-32767", allocator.Range{First: 30000, Last: 32767}, 2768, "30000-32767"},
		{"30000+2767", allocator.Range{First: 30000, Last: 32767}, 2768, "30000-32767"},
		{" 30000-32767\n", allocator.Range{First: 30000, Last: 32767}, 2768, "30000-32767"},
		{"443", allocator.Range{First: 443, Last: 443}, 1, "443"},
		{"443-443", allocator.Range{First: 443, Last: 443}, 1, "443"},
		{"443+0", allocator.Range{First: 443, Last: 443}, 1, "443"},
		{"080-0443", allocator.Range{First: 80, Last: 443}, 364, "80-443"},
		{"0-65535", allocator.Range{First: 0, Last: 65535}, 65536, "0-65535"},
		{"0+65535", allocator.Range{First: 0, Last: 65535}, 65536, "0-65535"},
		{"65535", allocator.Range{First: 65535, Last: 65535}, 1, "65535"},
	} {
		got, err := allocator.ParseRange(c.text)
		if got != c.want || err != nil {
			t.Errorf("%q is read as %v, %v, want %v", c.text, got, err, c.want)
		}
		if got.Size() != c.size || got.String() != c.back {
			t.Errorf("%q has %d ports and is written %q, want %d and %q", c.text, got.Size(), got, c.size, c.back)
		}
	}
}

func TestRangeThatCannotBeReadSaysWhatToWrite(t *testing.T) {
	for text, want := range map[string]string{
		"":                        "no ports: write FIRST-LAST, for example 30000-32767",
		" ":                       "no ports: write FIRST-LAST, for example 30000-32767",
		"0":                       "port 0 is never given to anybody: write FIRST-LAST, for example 30000-32767",
		"0+0":                     "port 0 is never given to anybody: write FIRST-LAST, for example 30000-32767",
		"32767-30000":             "it ends before it begins: write 30000-32767",
		"30000+40000":             "it ends at 70000, above the highest port: write 30000-65535",
		"1+65535":                 "it ends at 65536, above the highest port: write 1-65535",
		"30000-65536":             "65536 is above 65535, the highest port: write FIRST-LAST, for example 30000-32767",
		"99999999999999999999999": "99999999999999999999999 is above 65535, the highest port: write FIRST-LAST, for example 30000-32767",
		"web":                     `"web" is not a port number: write FIRST-LAST, for example 30000-32767`,
		"30000-":                  `"" is not a port number: write FIRST-LAST, for example 30000-32767`,
		"-5":                      `"" is not a port number: write FIRST-LAST, for example 30000-32767`,
		"1--5":                    `"-5" is not a port number: write FIRST-LAST, for example 30000-32767`,
		"30000 - 32767":           `"30000 " is not a port number: write FIRST-LAST, for example 30000-32767`,
		"30000-+5":                `"30000-" is not a port number: write FIRST-LAST, for example 30000-32767`,
		"30000+-5":                `"-5" is not a port number: write FIRST-LAST, for example 30000-32767`,
		"1-2-3":                   `"2-3" is not a port number: write FIRST-LAST, for example 30000-32767`,
		"80,443":                  `"80,443" is not a port number: write FIRST-LAST, for example 30000-32767`,
		"0x50":                    `"0x50" is not a port number: write FIRST-LAST, for example 30000-32767`,
	} {
		got, err := allocator.ParseRange(text)
		if err == nil {
			t.Errorf("%q is read as %v", text, got)
			continue
		}
		if _, mend, _ := strings.Cut(err.Error(), `": `); mend != want {
			t.Errorf("%q is answered with %q, want %q", text, mend, want)
		}
	}
}

func TestBandsAreThoseOfTheAPIServer(t *testing.T) {
	for _, c := range []struct{ of, static, dynamic string }{
		{"30000-32767", "30000-30085", "30086-32767"},
		{"30000", "", "30000"},
		{"30000-30014", "", "30000-30014"},
		{"30000-30015", "", "30000-30015"},
		{"30000-30016", "30000-30015", "30016"},
		{"30000-30030", "30000-30015", "30016-30030"},
		{"30000-30031", "30000-30015", "30016-30031"},
		{"30000-30032", "30000-30015", "30016-30032"},
		{"10000-10543", "10000-10016", "10017-10543"}, // 544 ports: the first 32nd above 16
		{"10000-10542", "10000-10015", "10016-10542"},
		{"10000-14095", "10000-10127", "10128-14095"}, // 4096 ports: the first 32nd of 128
		{"10000-14094", "10000-10126", "10127-14094"},
		{"1-65535", "1-128", "129-65535"},
		{"0-65535", "0-127", "128-65535"},
		{"65519-65535", "65519-65534", "65535"},
	} {
		r, err := allocator.ParseRange(c.of)
		if err != nil {
			t.Fatal(err)
		}
		static, dynamic := r.Bands()
		if static.String() != c.static || dynamic.String() != c.dynamic {
			t.Errorf("%s: static %s, dynamic %s, want %s and %s", c.of, static, dynamic, c.static, c.dynamic)
		}
		for port := range 65536 {
			want := allocator.Outside
			switch {
			case static.Contains(uint16(port)):
				want = allocator.Static
			case r.Contains(uint16(port)):
				want = allocator.Dynamic
			}
			if got := r.Band(uint16(port)); got != want {
				t.Errorf("%s: port %d is %s, want %s", c.of, port, got, want)
			}
		}
		if static.Size()+dynamic.Size() != r.Size() {
			t.Errorf("%s: %d ports and %d, of %d", c.of, static.Size(), dynamic.Size(), r.Size())
		}
	}
}

func TestRangeWithoutPortsHasNoBands(t *testing.T) {
	none := allocator.Range{First: 2, Last: 1}
	static, dynamic := none.Bands()
	if none.Size() != 0 || static.Size() != 0 || dynamic.Size() != 0 || none.String() != "" {
		t.Errorf("%q has %d ports, %d static and %d dynamic ones", none, none.Size(), static.Size(), dynamic.Size())
	}
	for _, port := range []uint16{0, 1, 2, 65535} {
		if none.Contains(port) || none.Band(port) != allocator.Outside {
			t.Errorf("port %d is in a range without ports", port)
		}
	}
}

func TestBandsHaveNames(t *testing.T) {
	for band, want := range map[allocator.Band]string{
		allocator.Static: "static", allocator.Dynamic: "dynamic", allocator.Outside: "outside", 9: "band-9",
	} {
		if got := band.String(); got != want {
			t.Errorf("band %d is called %q, want %q", uint8(band), got, want)
		}
	}
}

func FuzzParseRange(f *testing.F) {
	for _, seed := range []string{"30000-32767", "30000+2767", "443", "0-65535", "0", "65535+1", "5-1", "-", "+", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := allocator.ParseRange(text)
		if err != nil {
			return
		}
		if r.Size() < 1 || !r.Contains(r.First) || !r.Contains(r.Last) {
			t.Errorf("%q is read as %+v", text, r)
		}
		if again, err := allocator.ParseRange(r.String()); again != r || err != nil {
			t.Errorf("%q is read as %s, and that as %s, %v", text, r, again, err)
		}
	})
}
