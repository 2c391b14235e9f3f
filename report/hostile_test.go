package report

import (
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"
	"unicode"

	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/nodeaddr"
	"github.com/kube-ipvs/kube-ipvs/sync"
)

// named are all documents of a node where everything that has a name of somebody's choice has this one.
func named(t *testing.T, hostile string) map[string]Tabler {
	t.Helper()
	id := sync.ServiceID{Namespace: "a" + hostile, Name: "b" + hostile}
	s := node(func(svc *sync.Service) {
		svc.ID = id
		svc.Ports[0].Name, svc.Ports[0].Scheduler = hostile, hostile
		svc.Ports[0].Endpoints[0].Target, svc.Ports[0].Endpoints[0].Node = hostile, hostile
		svc.Problems = []sync.Problem{{Object: hostile, Reason: sync.Invalid, Message: hostile}}
		svc.Settings = []sync.Setting{{Name: hostile, Written: hostile, InForce: hostile, Why: hostile}}
	})
	s.Update(sync.Update{Services: []sync.Service{{ID: sync.ServiceID{Namespace: hostile, Name: "rival"}, UID: "rival", Created: noon, Families: sync.IPv4, Ports: []sync.ServicePort{
		{Name: hostile, NodePort: 30080, Protocol: frontend.TCP},
	}}}})
	s.Resolve()
	o := overview(s)
	o.All[0].Interface = hostile
	explanation, known := Explain(hostile, o, id, Kernel{})
	if !known {
		t.Fatal("the Service is not known")
	}
	return map[string]Tabler{
		"status":  NewStatus(hostile, hostile, hostile, o),
		"explain": explanation,
		"address": ExplainAddress(hostile, o, netip.AddrPortFrom(onA, 30080), Kernel{}),
		"diff":    Diff(hostile, o, ipvs.Table{}, &filter.State{Present: true, Stray: []string{hostile}}),
		"plan":    NewPlan(hostile, o.All, []nodeaddr.Rejected{{Address: o.All[0], Reason: hostile}}, s),
		"ports":   NewPorts(hostile, s.ViewPorts(), 0),
	}
}

// Manifests are checked by no API server, so a name may be a command to a terminal.
func TestNoTableHasWhatATerminalObeys(t *testing.T) {
	for name, document := range named(t, "\x1b[2J\u202e") {
		for _, f := range []Format{Table, Wide} {
			var b strings.Builder
			if err := Write(&b, f, document); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(b.String(), `\x1b[2J`) {
				t.Errorf("%s, %s: the hostile text is not in it, so nothing is shown:\n%s", name, f, b.String())
			}
			if i := strings.IndexFunc(b.String(), func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }); i >= 0 {
				t.Errorf("%s, %s: %q", name, f, b.String()[max(0, i-20):min(len(b.String()), i+20)])
			}
		}
	}
}

// A name with a new line, or a tab, would write lines and columns of its own: that of a Service that is served, for example.
func TestNoNameMakesALineOfATable(t *testing.T) {
	plain := named(t, "plain")
	for name, document := range named(t, "two\nlines\tand columns") {
		for _, f := range []Format{Table, Wide} {
			var got, want strings.Builder
			if err := errors.Join(Write(&got, f, document), Write(&want, f, plain[name])); err != nil {
				t.Fatal(err)
			}
			if strings.Count(got.String(), "\n") != strings.Count(want.String(), "\n") || strings.Contains(got.String(), "\nlines") {
				t.Errorf("%s, %s:\n%s\nwant the lines of\n%s", name, f, got.String(), want.String())
			}
		}
	}
}

// words is a document that is its text.
type words string

func (d words) Table(w io.Writer, _ bool) error {
	_, err := io.WriteString(w, string(d))
	return err
}

func TestTheLinesOfATableStayAsTheyAre(t *testing.T) {
	for _, text := range []string{"", "one", "one\n", "one\n\ntwo  three\n", "ä – ✓\n"} {
		var b strings.Builder
		if err := Write(&b, Table, words(text)); err != nil || b.String() != text {
			t.Errorf("%q is written as %q (%v)", text, b.String(), err)
		}
	}
}
