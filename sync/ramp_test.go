package sync

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/kube-ipvs/kube-ipvs/filter/filtertest"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
)

// weighted is an entry of "LAST-BYTE*WEIGHT".
func weighted(texts string) ipvs.Entry {
	e := ipvs.Entry{Reals: map[netip.AddrPort]ipvs.RealServer{}}
	for _, text := range strings.Fields(texts) {
		var last byte
		var weight uint32
		if _, err := fmt.Sscanf(text, "%d*%d", &last, &weight); err != nil {
			panic(err)
		}
		e.Reals[endpoint(last)] = ipvs.RealServer{Weight: weight}
	}
	return e
}

func endpoint(last byte) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 244, 1, last}), 80)
}

func weightsOf(e ipvs.Entry) string {
	var texts []string
	for _, addr := range e.RealKeys() {
		texts = append(texts, fmt.Sprintf("%d*%d", addr.Addr().As4()[3], e.Reals[addr].Weight))
	}
	return strings.Join(texts, " ")
}

func TestRampRules(t *testing.T) {
	const period = 100 * time.Second
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name, have, want string
		young            map[byte]time.Duration // since when real servers rise
		next             string
		rise             []byte
		due              time.Duration // from now
	}{
		{"one that is new beside another begins with a tenth", "1*10", "1*10 2*10", nil, "1*10 2*1", []byte{2}, 10 * time.Second},
		{"of its weight", "1*10", "1*10 2*650", nil, "1*10 2*65", []byte{2}, 10 * time.Second},
		{"nobody rises in an empty virtual server", "", "1*10 2*10", nil, "1*10 2*10", nil, 0},
		{"nor where the others get no new connection", "1*0", "1*10 2*10", nil, "1*10 2*10", nil, 0},
		{"nor where the others leave", "1*10", "1*0 2*10 3*10", nil, "1*0 2*10 3*10", nil, 0},
		{"one that was there already has its weight", "1*10 2*3", "1*10 2*10", nil, "1*10 2*10", nil, 0},
		{"one that comes back from maintenance too", "1*10 2*0", "1*10 2*10", nil, "1*10 2*10", nil, 0},
		{"one that rises", "1*10 2*1", "1*10 2*10", map[byte]time.Duration{2: 35 * time.Second}, "1*10 2*4", []byte{2}, 5 * time.Second},
		{"at the moment of a step", "1*10 2*1", "1*10 2*10", map[byte]time.Duration{2: 40 * time.Second}, "1*10 2*5", []byte{2}, 10 * time.Second},
		{"before the last step", "1*10 2*8", "1*10 2*10", map[byte]time.Duration{2: 90*time.Second - 1}, "1*10 2*9", []byte{2}, 1},
		{"at the last step", "1*10 2*9", "1*10 2*10", map[byte]time.Duration{2: 90 * time.Second}, "1*10 2*10", nil, 0},
		{"long after it", "1*10 2*9", "1*10 2*10", map[byte]time.Duration{2: time.Hour}, "1*10 2*10", nil, 0},
		{"the next of several is due", "1*10 2*1 3*1", "1*10 2*10 3*10", map[byte]time.Duration{2: 4 * time.Second, 3: 8 * time.Second}, "1*10 2*1 3*1", []byte{2, 3}, 2 * time.Second},
		{"one that leaves rises no more", "1*10 2*1", "1*10 2*0", map[byte]time.Duration{2: 4 * time.Second}, "1*10 2*0", nil, 0},
		{"nor one that is gone", "1*10 2*1", "1*10", map[byte]time.Duration{2: 4 * time.Second}, "1*10", nil, 0},
		{"one that was not added yet goes on", "1*10", "1*10 2*10", map[byte]time.Duration{2: 35 * time.Second}, "1*10 2*4", []byte{2}, 5 * time.Second},
		{"where all others rise the new one is behind them", "2*3", "2*10 3*10", map[byte]time.Duration{2: 25 * time.Second}, "2*3 3*1", []byte{2, 3}, 5 * time.Second},
		{"a weight that has no steps", "1*1", "1*1 2*1", nil, "1*1 2*1", []byte{2}, 10 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := rising{since: map[netip.AddrPort]time.Time{}}
			for last, ago := range c.young {
				before.since[endpoint(last)] = now.Add(-ago)
			}
			next := weighted(c.want)
			after := ramp(now, period, weighted(c.have), &next, before)
			if got := weightsOf(next); got != c.next {
				t.Errorf("weights %s, want %s", got, c.next)
			}
			var rise []byte
			for _, addr := range slices.SortedFunc(maps.Keys(after.since), netip.AddrPort.Compare) {
				rise = append(rise, addr.Addr().As4()[3])
			}
			if !slices.Equal(rise, c.rise) {
				t.Errorf("%v rise, want %v", rise, c.rise)
			}
			if len(c.rise) > 0 && !after.next.Equal(now.Add(c.due)) {
				t.Errorf("due in %s, want %s", after.next.Sub(now), c.due)
			}
		})
	}
}

// Real servers come and go while time goes by: no weight is ever above the wanted one nor falls while the wanted one
// stays, an older one never has less than a younger one, and in the end all have what is wanted.
func TestRampProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		period := time.Duration(rapid.Int64Range(int64(time.Second), int64(time.Hour)).Draw(t, "period"))
		weight := rampSteps * rapid.Uint32Range(1, MaxSlowStartWeight).Draw(t, "weight")
		now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		have, up := ipvs.Entry{}, rising{}
		born := map[netip.AddrPort]time.Time{}
		step := func() {
			next := ipvs.Entry{Reals: map[netip.AddrPort]ipvs.RealServer{}}
			for addr := range born {
				next.Reals[addr] = ipvs.RealServer{Weight: weight}
			}
			up = ramp(now, period, have, &next, up)
			for addr, real := range next.Reals {
				was, there := have.Reals[addr]
				if real.Weight > weight || real.Weight == 0 || there && real.Weight < was.Weight {
					t.Fatalf("%s has weight %d of %d, after %d", addr, real.Weight, weight, was.Weight)
				}
				for other, o := range next.Reals {
					if born[addr].Before(born[other]) && real.Weight < o.Weight {
						t.Fatalf("%s with weight %d is older than %s with %d", addr, real.Weight, other, o.Weight)
					}
				}
			}
			if len(up.since) > 0 && !up.next.After(now) {
				t.Fatalf("due at %s, which is not after %s", up.next, now)
			}
			have = next
		}
		for range rapid.IntRange(1, 12).Draw(t, "events") {
			addr := endpoint(rapid.Byte().Draw(t, "real server") % 5)
			switch _, there := born[addr]; {
			case rapid.Bool().Draw(t, "only time"):
			case there:
				delete(born, addr)
			default:
				born[addr] = now
			}
			step()
			now = now.Add(time.Duration(rapid.Int64Range(1, int64(period)/2).Draw(t, "pause")))
		}
		for n := 0; len(up.since) > 0; n++ {
			if n > 10*rampSteps {
				t.Fatalf("still rising after %d steps: %v", n, up)
			}
			if now.Before(up.next) {
				now = up.next
			}
			step()
		}
		for addr, real := range have.Reals {
			if real.Weight != weight {
				t.Fatalf("%s ends with weight %d of %d", addr, real.Weight, weight)
			}
		}
		for addr, since := range born {
			if have.Reals[addr].Weight != weight || now.Sub(since) < 0 {
				t.Fatalf("%s is missing", addr)
			}
		}
	})
}

// slow is a Service whose new endpoints get their weight over 100 s.
func slow(endpoints ...string) Service {
	svc := web(endpoints...)
	svc.Ports[0].Scheduler, svc.Ports[0].SlowStart = "wrr", 100*time.Second
	return svc
}

const onSlow = "tcp://10.1.0.10:30080 wrr "

func TestNewEndpointGetsItsWeightInTenSteps(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		var written []string
		begin := time.Now()
		g := start(t, kernel, nft, func(c *Config) {
			c.Kernel = &witness{Handle: c.Kernel, saw: func(op ipvs.Op) {
				if op.RealKey.String() == leaves {
					written = append(written, fmt.Sprintf("%s after %s: %d", op.Verb, time.Since(begin), op.Real.Weight))
				}
			}}
		})
		g.serve(slow(stays))
		g.expect(onSlow + stays + "*10")
		g.after(time.Hour)
		begin = time.Now()
		g.deliver(slow(stays, leaves))
		g.after(time.Hour)
		want := []string{fmt.Sprintf("%s after 0s: 1", ipvs.AddReal)}
		for i := 1; i < rampSteps; i++ {
			want = append(want, fmt.Sprintf("%s after %s: %d", ipvs.SetReal, time.Duration(i)*10*time.Second, i+1))
		}
		if diff := cmp.Diff(want, written); diff != "" {
			t.Errorf("written (-want +got):\n%s", diff)
		}
		g.expect(onSlow + stays + "*10 " + leaves + "*10")
		if n := g.Counters().Drift; n != 0 || len(g.rising) != 0 {
			t.Errorf("drift counted %d times, still rising: %v", n, g.rising)
		}
	})
}

func TestFirstEndpointsOfAServiceDoNotRise(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft)
		g.serve(slow(stays, leaves))
		g.expect(onSlow + stays + "*10 " + leaves + "*10")
		writes := g.writes()
		g.after(10 * time.Minute)
		if n := g.writes() - writes; n != 0 {
			t.Errorf("%d writes later", n)
		}
	})
}

func TestRestartEndsASlowStartAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft)
		g.serve(slow(stays))
		g.deliver(slow(stays, leaves))
		g.after(25 * time.Second)
		g.expect(onSlow + stays + "*10 " + leaves + "*3")
		g.stop()
		g = start(t, kernel, nft)
		g.serve(slow(stays, leaves))
		g.expect(onSlow + stays + "*10 " + leaves + "*10")
	})
}

func TestSlowStartThatIsTakenBackEndsAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft)
		g.serve(slow(stays))
		g.deliver(slow(stays, leaves))
		svc := slow(stays, leaves)
		svc.Ports[0].SlowStart = 0
		g.deliver(svc)
		g.expect(onSlow + stays + "*1 " + leaves + "*1")
		writes := g.writes()
		g.after(time.Hour)
		if n := g.writes() - writes; n != 0 || len(g.rising) != 0 {
			t.Errorf("%d writes later, still rising: %v", n, g.rising)
		}
	})
}

// Another length of it counts for those that rise, although the table it asks for is the same.
func TestSlowStartOfAnotherLengthCountsFromTheNextStep(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft)
		g.serve(slow(stays))
		g.deliver(slow(stays, leaves))
		g.after(5 * time.Second)
		svc := slow(stays, leaves)
		svc.Ports[0].SlowStart = 20 * time.Second
		g.deliver(svc)
		g.after(5 * time.Second)
		g.expect(onSlow + stays + "*10 " + leaves + "*6")
		g.after(9 * time.Second)
		g.expect(onSlow + stays + "*10 " + leaves + "*10")
	})
}

func TestVirtualServerDeletedByAnotherDuringASlowStartComesBackWithItsWeights(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft)
		g.serve(slow(stays))
		g.deliver(slow(stays, leaves))
		g.after(25 * time.Second)
		kernel.Do(t.Context(), []ipvs.Op{{Verb: ipvs.DelVirtual, Key: tcp("10.1.0.10", 30080)}})
		g.after(7 * time.Second)
		g.expect(onSlow + stays + "*10 " + leaves + "*4")
		g.after(time.Minute)
		g.expect(onSlow + stays + "*10 " + leaves + "*10")
	})
}

func TestServiceThatGoesDuringASlowStartLeavesNothingToDo(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		g := start(t, kernel, nft)
		g.serve(slow(stays))
		g.deliver(slow(stays, leaves))
		g.deliver(gone("web"))
		g.after(time.Minute)
		g.expect()
		if len(g.rising) != 0 {
			t.Errorf("still rising: %v", g.rising)
		}
	})
}

// Its next step is due all the time, and has to wait like everything else of the Service.
func TestSlowStartOfAServiceThatIsHeldWaitsWithIt(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		tries := 0
		g := start(t, kernel, nft, func(c *Config) { c.SyncPeriod = 24 * time.Hour })
		g.serve(slow(stays))
		g.deliver(slow(stays, leaves))
		refuse := filtertest.Refuse(tcp("10.1.0.10", 30080))
		nft.SetFault(func(transaction string) error {
			if refuse(transaction) == nil || tries > 1000 { // else the test never ends
				return nil
			}
			tries++
			return refuse(transaction)
		})
		svc := slow(stays, leaves)
		svc.Sources = sources("10.0.0.0/8")
		g.deliver(svc)
		g.after(time.Minute)
		if tries > 20 {
			t.Errorf("%d tries within a minute", tries)
		}
		g.expect(onSlow + stays + "*10 " + leaves + "*1")
		nft.SetFault(nil)
		g.after(5 * time.Minute)
		g.expect(onSlow + stays + "*10 " + leaves + "*10")
	})
}

// A frontend that nobody wants, and that somebody else deleted, is forgotten: what is due for ever is never at rest.
func TestSlowStartOfWhatIsGoneAndUnwantedIsForgotten(t *testing.T) {
	r, key := New(logr.Discard(), Config{}), tcp("10.1.0.10", 30080)
	r.rising[key] = rising{since: map[netip.AddrPort]time.Time{endpoint(1): {}}}
	r.tables(time.Now(), []frontend.Key{key})
	if due := r.dueRamps(time.Now()); len(due) != 0 {
		t.Errorf("due: %v", due)
	}
}
