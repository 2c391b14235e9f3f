package nodes

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
)

// remote is a client of an asker that is one pipe away, and of another one after hangup.
func remote(t *testing.T) (r *Remote, hangup func()) {
	t.Helper()
	var there net.Conn
	r = DialOver(func(context.Context) (net.Conn, error) {
		here, other := net.Pipe()
		there = other
		go func() { _ = NewAsker(t.Context()).ServeConn(other) }() // each connection leads to another
		return here, nil
	})
	t.Cleanup(r.Hangup)
	return r, func() { _ = there.Close() }
}

// web answers as a pod does, over HTTP alone.
func web(t *testing.T) netip.AddrPort {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		client, _, _ := net.SplitHostPort(r.RemoteAddr)
		_, _ = w.Write([]byte("web " + client + "\n"))
	}))
	t.Cleanup(s.Close)
	return netip.MustParseAddrPort(s.Listener.Addr().String())
}

func TestAnAskerAsksFromWhereItRuns(t *testing.T) {
	r, _ := remote(t)
	q := Question{From: "anywhere", Protocol: "http", To: web(t), Count: 3}
	tally, err := r.Ask(t.Context(), q)
	if err != nil || tally.Pods["web"] != 3 || tally.Clients[netip.MustParseAddr("127.0.0.1")] != 3 {
		t.Errorf("%v, %v", tally, err)
	}
	answer, err := r.Get(t.Context(), Get{URL: "http://" + q.To.String() + "/"})
	if err != nil || answer.Status != http.StatusOK || answer.Body != "web 127.0.0.1\n" {
		t.Errorf("%+v, %v", answer, err)
	}
}

// Else a load that loses requests would pass for one that does not.
func TestRequestsWithoutAnAnswerAreInTheTallyOfWhoAsks(t *testing.T) {
	r, _ := remote(t)
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	q := Question{Protocol: "tcp", To: netip.MustParseAddrPort(l.Addr().String()), Count: 2}
	held, err := r.Hold(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	l.Close()
	for what, ask := range map[string]func() (Tally, error){
		"questions":  func() (Tally, error) { return r.Ask(t.Context(), q) },
		"connection": func() (Tally, error) { return r.AskOn(t.Context(), held) },
	} {
		if tally, err := ask(); err != nil || tally.Answers() != 0 || len(tally.Failures) == 0 || !strings.Contains(tally.String(), "\n\t") {
			t.Errorf("%s: %v, %v", what, tally, err)
		}
	}
	if err := r.Release(t.Context(), held); err != nil {
		t.Error(err)
	}
}

func TestALoadOfAnAskerGoesOnBetweenRequests(t *testing.T) {
	r, _ := remote(t)
	load, err := r.StartLoad(t.Context(), Load{Question: Question{Protocol: "http", To: web(t)}, Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	for tally := (Tally{}); tally.Answers() < 5; {
		if tally, err = r.LoadTally(t.Context(), load); err != nil || len(tally.Failures) > 0 {
			t.Fatalf("%v, %v", tally, err)
		}
	}
	if tally, err := r.StopLoad(t.Context(), load); err != nil || tally.Answers() < 5 {
		t.Errorf("%v, %v", tally, err)
	}
	if _, err := r.LoadTally(t.Context(), load); err == nil || !strings.Contains(err.Error(), "no load") {
		t.Errorf("a load that was stopped: %v", err)
	}
}

func TestAnAskerEndsWithItsConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		ended := make(chan error, 1)
		go func() { ended <- NewAsker(t.Context()).ServeConn(there) }()
		synctest.Wait()
		if len(ended) != 0 {
			t.Fatal("it ended before its connection")
		}
		here.Close()
		synctest.Wait()
		if len(ended) != 1 {
			t.Fatal("it goes on after its connection")
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestAnAskerThatIsLostIsAnErrorAndNoAnswer(t *testing.T) {
	r, hangup := remote(t)
	q := Question{Protocol: "http", To: web(t), Count: 1}
	load, err := r.StartLoad(t.Context(), Load{Question: q, Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.LoadTally(t.Context(), load); err != nil {
		t.Fatal(err)
	}
	hangup()
	if tally, err := r.StopLoad(t.Context(), load); err == nil {
		t.Errorf("%v", tally)
	}
}
