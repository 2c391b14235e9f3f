package main

import (
	"context"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/nodes"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
)

// freePort is one that nobody else is likely to take on this address.
func freePort(t *testing.T, a string) netip.AddrPort {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", a+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return netip.MustParseAddrPort(l.Addr().String())
}

func eventually(t *testing.T, f func() error) {
	t.Helper()
	for began := time.Now(); ; time.Sleep(time.Millisecond) {
		err := f()
		if err == nil {
			return
		}
		if time.Since(began) > 10*time.Second {
			t.Fatal(err)
		}
	}
}

func TestAServerIsReadyFromItsFirstListenerToItsEndUnlessItIsToldOtherwise(t *testing.T) {
	t.Chdir(t.TempDir())
	at := freePort(t, "127.83.21.9")
	t.Setenv("POD_NAME", "web")
	t.Setenv("POD_IPS", at.Addr().String())
	probe := func() error { return run(t.Context(), []string{"ready"}, nil, nil) }
	set := func(is string) {
		if err := run(t.Context(), []string{"ready", is}, nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	if probe() == nil {
		t.Fatal("ready before it serves")
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, []string{"serve", "-ports", netip.AddrPortFrom(at.Addr(), at.Port()).String()[len(at.Addr().String())+1:]}, nil, nil)
	}()
	eventually(t, probe)
	for _, protocol := range []string{topo.TCP, topo.UDP, topo.HTTP} {
		if a, err := topo.Ask(t.Context(), topo.Here("here"), protocol, at); err != nil || a.Pod != "web" {
			t.Errorf("%s: %+v, %v", protocol, a, err)
		}
	}
	set("true") // as it is
	set("false")
	if probe() == nil {
		t.Error("ready although it was told otherwise")
	}
	if _, err := topo.Ask(t.Context(), topo.Here("here"), topo.TCP, at); err != nil {
		t.Errorf("an unready server does not answer: %v", err)
	}
	set("true")
	if err := probe(); err != nil {
		t.Error(err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if probe() == nil {
		t.Error("ready after its end")
	}
}

func TestAskHoldsAConversationOverItsStreams(t *testing.T) {
	s := freePort(t, "127.83.21.10")
	server, err := topo.Serve(t.Context(), "web", s)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	in, told := io.Pipe()
	heard, out := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- run(t.Context(), []string{"ask"}, in, out)
		out.Close()
	}()
	r := nodes.DialOver(func(context.Context) (net.Conn, error) {
		here, there := net.Pipe()
		go func() {
			_, _ = io.Copy(told, there)
			told.Close()
		}()
		go func() { _, _ = io.Copy(there, heard) }()
		return here, nil
	})
	tally, err := r.Ask(t.Context(), nodes.Question{Protocol: topo.UDP, To: s, Count: 2})
	if err != nil || tally.Pods["web"] != 2 {
		t.Errorf("%v, %v", tally, err)
	}
	r.Hangup()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestAServerListensOnEveryAddressAndPort(t *testing.T) {
	all, err := addresses("10.244.1.2,fd00::2", "8080,9090")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, a := range all {
		got = append(got, a.String())
	}
	want := []string{"10.244.1.2:8080", "10.244.1.2:9090", "[fd00::2]:8080", "[fd00::2]:9090"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, bad := range [][2]string{{"", "8080"}, {"10.0.0.1", "x"}, {"10.0.0.1", "65536"}} {
		if all, err := addresses(bad[0], bad[1]); err == nil {
			t.Errorf("%q: %v", bad, all)
		}
	}
}

func TestAnUnknownCommandSaysSo(t *testing.T) {
	for _, args := range [][]string{nil, {"nonsense"}, {"ready", "perhaps"}, {"serve", "-nonsense"}} {
		if err := run(t.Context(), args, strings.NewReader(""), io.Discard); err == nil {
			t.Errorf("%q is no error", args)
		}
	}
}
