package frontend_test

import (
	"testing"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

func TestRangesOverlapInWhatBothHave(t *testing.T) {
	ephemeral := frontend.PortRange{First: 32768, Last: 60999}
	for _, c := range []struct {
		with frontend.PortRange
		want string
	}{
		{frontend.PortRange{First: 30000, Last: 32767}, ""},
		{frontend.PortRange{First: 30000, Last: 32768}, "32768"},
		{frontend.PortRange{First: 30000, Last: 40000}, "32768-40000"},
		{frontend.PortRange{First: 60999, Last: 65535}, "60999"},
		{frontend.PortRange{First: 61000, Last: 65535}, ""},
		{frontend.PortRange{First: 0, Last: 65535}, "32768-60999"},
		{frontend.PortRange{First: 2, Last: 1}, ""},
		{frontend.PortRange{First: 50000, Last: 40000}, ""},
	} {
		for _, swapped := range []bool{false, true} {
			a, b := ephemeral, c.with
			if swapped {
				a, b = b, a
			}
			got := ""
			if both, overlap := a.Overlap(b); overlap {
				got = both.String()
			}
			if got != c.want {
				t.Errorf("%v and %v overlap in %q, want %q", a, b, got, c.want)
			}
		}
	}
}

func TestARangeOfOnePortIsThatPort(t *testing.T) {
	for want, r := range map[string]frontend.PortRange{
		"80": {First: 80, Last: 80}, "1-2": {First: 1, Last: 2}, "": {First: 2, Last: 1}, "0-65535": {Last: 65535},
	} {
		if got := r.String(); got != want {
			t.Errorf("%#v is %q, want %q", r, got, want)
		}
	}
}
