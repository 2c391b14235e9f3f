package main

import (
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab"
)

func TestGuestFlags(t *testing.T) {
	parse := func(args ...string) (guestFlags, bool) {
		var g guestFlags
		f := newFlags("test")
		f.SetOutput(io.Discard)
		g.register(f)
		_, ok := f.parse(args)
		return g, ok
	}
	g, ok := parse("-bin", "./cmd/a", "-bin", "./cmd/b", "-file", "x=/etc/x")
	if !ok {
		t.Fatal("refused")
	}
	if d := cmp.Diff([]string{"./cmd/a", "./cmd/b"}, g.programs); d != "" {
		t.Errorf("programs (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]lab.File{{Source: "x", Dest: "/etc/x"}}, g.files); d != "" {
		t.Errorf("files (-want +got):\n%s", d)
	}
	for _, bad := range []string{"x", "x=etc/x", "x="} {
		if _, ok := parse("-file", bad); ok {
			t.Errorf("-file %s is accepted", bad)
		}
	}
}
