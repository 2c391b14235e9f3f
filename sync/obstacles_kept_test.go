package sync

import (
	"testing"
	"time"

	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/filter/filtertest"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
)

// What an agent before served is taken from nobody who listens there, but only until it is given up.
func TestAPortThatAnAgentBeforeServedIsFreeOnceItIsGivenUp(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft)
		g.serve(web("10.244.1.2:8080"))
		g.stop()
		p := &programs{}
		g = start(t, kernel, nft, p.skip)
		g.serve(web("10.244.1.2:8080"))
		g.deliver(gone("web"))
		g.after(10 * time.Minute)
		g.expect()
		p.listen(listens(at1, 30080, "nginx (process 7)"))
		g.after(time.Minute)
		g.deliver(web("10.244.1.2:8080"))
		g.after(time.Minute)
		g.expect()
		p.listen()
		g.after(time.Minute)
		g.expect("tcp://10.1.0.10:30080 rr 10.244.1.2:8080*1")
	})
}

func TestAnExtraPortIsOursAgainAfterOurTableWasDeletedWhileNoAgentRan(t *testing.T) {
	for name, fault := range map[string]func(*testing.T, *filtertest.Fake, *Config) (mend func()){
		"and all goes well": func(*testing.T, *filtertest.Fake, *Config) func() { return func() {} },
		"and nft fails at first": func(_ *testing.T, nft *filtertest.Fake, _ *Config) func() {
			nft.SetFault(filtertest.Refuse(tcp(at1, 443)))
			return func() { nft.SetFault(nil) }
		},
		"and IPVS does not answer at first": func(_ *testing.T, _ *filtertest.Fake, c *Config) func() {
			m := &muteKernel{Handle: c.Kernel, asked: map[time.Time]int{}, pass: time.Now}
			m.mute.Store(true)
			c.Kernel = m
			return func() { m.mute.Store(false) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
				g := start(t, kernel, nft)
				web := withExtra(service("web", 30443, stays, leaves), 443)
				g.serve(web)
				g.stop()
				if err := nft.Flush(t.Context()); err != nil {
					t.Fatal(err)
				}
				var mend func()
				g = start(t, kernel, nft, func(c *Config) { mend = fault(t, nft, c) })
				g.serve(withExtra(service("web", 30443, stays, "10.244.3.2:8080"), 443))
				g.after(time.Minute)
				mend()
				g.after(time.Minute)
				g.expect("tcp://10.1.0.10:443 rr 10.244.1.2:8080*1 10.244.3.2:8080*1", "tcp://10.1.0.10:30443 rr 10.244.1.2:8080*1 10.244.3.2:8080*1")
				if rules := g.rules(); !rules.Owned.Has(tcp(at1, 443)) || rules.Masquerade[tcp(at1, 443)] != filter.MasqueradeAll {
					t.Errorf("our table has %v", rules)
				}
				if s := g.Status(); s.Err != nil || len(s.Problems) > 0 {
					t.Errorf("%v, problems %v", s.Err, s.Problems)
				}
			})
		})
	}
}

// Somebody else's virtual server stands on the extra port 443, and leads to a place that no Service knows.
func TestSomebodyElsesVirtualServerOnAnExtraPortIsOursIfThatIsAskedFor(t *testing.T) {
	const theirs, ours = "tcp://10.1.0.10:443 wlc 192.0.2.9:443*7", "tcp://10.1.0.10:443 rr 10.244.1.2:8080*1"
	for name, c := range map[string]struct {
		adopt bool
		want  string
		told  int
	}{"it is": {true, ours, 0}, "it is not": {false, theirs, 1}} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, _ *ipvsfake.Kernel, nft *filtertest.Fake) {
				there, err := ipvs.ParseTable("tcp://10.1.0.10:443 wlc\n192.0.2.9:443 masq weight 7\n")
				if err != nil {
					t.Fatal(err)
				}
				kernel := ipvsfake.New(ipvsfake.WithTable(there))
				g := start(t, kernel, nft, func(f *Config) { f.Adopt = c.adopt })
				g.serve(extra("web"))
				g.after(2 * time.Minute)
				g.expect(c.want, "tcp://10.1.0.10:30443 rr 10.244.1.2:8080*1")
				if n := len(g.Status().Problems); n != c.told {
					t.Errorf("problems %v", g.Status().Problems)
				}
			})
		})
	}
}
