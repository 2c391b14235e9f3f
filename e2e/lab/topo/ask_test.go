package topo

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestAnswersAreReadAsTheyAreWritten(t *testing.T) {
	s := &server{name: "web-1"}
	for client, want := range map[string]string{
		"10.1.0.2:4711":         "10.1.0.2",
		"[::ffff:10.1.0.2]:471": "10.1.0.2",
		"[fd01::2]:4711":        "fd01::2",
	} {
		a, err := parseAnswer(string(s.answer(client)))
		if want := (Answer{"web-1", netip.MustParseAddr(want)}); err != nil || a != want {
			t.Errorf("%s: %v %v, want %v", client, a, err, want)
		}
	}
}

func TestWhatIsNoAnswerIsAnError(t *testing.T) {
	for _, s := range []string{"", "\n", "web-1\n", "web-1 somewhere\n", "<html>\n"} {
		if a, err := parseAnswer(s); err == nil {
			t.Errorf("%q is taken for %v", s, a)
		}
	}
}

func TestATallyCountsPodsClientsAndFailures(t *testing.T) {
	var tally Tally
	now := time.Now()
	a, b := netip.MustParseAddr("10.1.0.2"), netip.MustParseAddr("10.1.0.10")
	tally.add(now, Answer{"web-2", b}, nil)
	tally.add(now, Answer{"web-1", a}, nil)
	tally.add(now, Answer{"web-2", a}, nil)
	tally.add(now, Answer{}, errors.New("refused"))
	if tally.Answers() != 3 || tally.Clients[a] != 2 || tally.Clients[b] != 1 {
		t.Errorf("%+v", tally)
	}
	if got, want := tally.String(), "web-1: 1, web-2: 2, failures: 1; refused"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	copied := tally.clone()
	tally.add(now, Answer{"web-1", a}, nil)
	if copied.Answers() != 3 {
		t.Error("a copy changes with the original")
	}
	for range 10 {
		tally.add(now, Answer{}, errors.New("lost"))
	}
	if s := tally.String(); strings.Count(s, "lost") != 2 || !strings.HasSuffix(s, "…") {
		t.Errorf("%q: want three failures and a sign that there are more", s)
	}
}
