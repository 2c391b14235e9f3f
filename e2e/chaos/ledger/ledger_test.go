package ledger

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

const s = time.Second

var (
	at    = netip.MustParseAddrPort("10.1.0.10:30001")
	moved = netip.MustParseAddrPort("10.1.0.10:30002")
)

// book is of one Service since second 1, whose pods are a, which stays, and b, which is told to go at 20, leaves at 30 and stops then. The
// agent was away from 40 to 50 and from 51 to 52.
func book() *Book {
	b := New(2*s, 60*s)
	b.promiseAt(1*s, "web", "d", at.Port())
	for name, set := range map[string]func(*Pod, time.Duration){
		"a": func(p *Pod, _ time.Duration) { p.Deployment = "d" },
		"b": func(p *Pod, _ time.Duration) { p.Deployment, p.Told, p.Left, p.Stopped = "d", 20*s, 30*s, 30*s },
	} {
		b.Pod(name, set)
	}
	b.away[Agent] = []Span{{40 * s, 50 * s}, {51 * s, 52 * s}}
	return b
}

func tcp(start time.Duration, pod string) Request {
	r := Request{Start: start, Sent: start, End: start + s/10, Protocol: TCP, Service: "web", To: at, Pod: pod, Tries: 1}
	if pod == "" {
		r.Err = "refused"
	}
	return r
}

func udp(r Request) Request { r.Protocol = UDP; return r }

func TestARequestThatFailsIsABrokenPromiseUnlessARuleExcusesIt(t *testing.T) {
	to := func(r Request, a netip.AddrPort) Request { r.To = a; return r }
	for name, c := range map[string]struct {
		change func(*Book)
		r      Request
		want   string // the reason; "" if it counts
	}{
		"all is well":                               {r: tcp(10*s, "")},
		"all is well, UDP":                          {r: udp(tcp(10*s, ""))},
		"a pod terminates, which is known":          {r: tcp(25*s, "")},
		"a pod has stopped, which was known before": {r: tcp(30*s+s/2, "")},
		"the agent is away and nothing changed":     {r: tcp(45*s, "")},
		"the Service is not known yet":              {r: tcp(2*s, ""), want: Changing},
		"another port":                              {r: to(tcp(10*s, ""), moved), want: Changing},
		"the Service goes meanwhile":                {change: func(b *Book) { b.withdrawAt(10*s+s/20, "web") }, r: tcp(10*s, ""), want: Changing},
		"the Service had gone":                      {change: func(b *Book) { b.withdrawAt(9*s, "web") }, r: tcp(10*s, ""), want: Changing},
		"it came while the agent was away": {
			change: func(b *Book) { b.promiseAt(45*s, "web", "d", moved.Port()) }, r: to(tcp(53*s, ""), moved), want: Changing,
		},
		"it came while the agent was away, and the next agent began after it": {
			change: func(b *Book) { b.promiseAt(45*s, "web", "d", moved.Port()); b.starts = []Span{{46 * s, 50 * s}} },
			r:      to(tcp(50*s+s/2, ""), moved),
		},
		"it came while the agent was away, and the next agent had begun before": {
			change: func(b *Book) { b.promiseAt(45*s, "web", "d", moved.Port()); b.starts = []Span{{44 * s, 50 * s}} },
			r:      to(tcp(50*s+s/2, ""), moved), want: Changing,
		},
		"it came while the agent was away, and the next agent had no source for a moment": {
			change: func(b *Book) {
				b.promiseAt(45*s, "web", "d", moved.Port())
				b.starts, b.away[Source] = []Span{{46 * s, 50 * s}}, []Span{{47 * s, 48 * s}}
			},
			r: to(tcp(50*s+s/2, ""), moved), want: Changing,
		},
		"it came while the agent was away, and that was known in the end": {
			change: func(b *Book) { b.promiseAt(45*s, "web", "d", moved.Port()) }, r: to(tcp(54*s, ""), moved),
		},
		"the address is away": {change: func(b *Book) { b.absent[at.Addr()] = []Span{{9 * s, Never}} }, r: tcp(10*s, ""), want: NoAddr},
		"the address is back": {change: func(b *Book) { b.absent[at.Addr()] = []Span{{5 * s, 8 * s}} }, r: tcp(10*s, "")},
		"another is away":     {change: func(b *Book) { b.absent[netip.IPv6Loopback()] = []Span{{5 * s, Never}} }, r: tcp(10*s, "")},
		"a pod went while the agent was away": {
			change: func(b *Book) { p := b.pods["b"]; p.Told, p.Left, p.Stopped = 41*s, 45*s, 45*s }, r: tcp(48*s, ""), want: Unseen,
		},
		"a pod of others went while the agent was away": {
			change: func(b *Book) {
				p := b.pods["b"]
				p.Deployment, p.Told, p.Left, p.Stopped = "other", 41*s, 45*s, 45*s
			}, r: tcp(48*s, ""),
		},
		"a pod went while the agent was away, and that is known now": {
			change: func(b *Book) { p := b.pods["b"]; p.Told, p.Left, p.Stopped = 41*s, 45*s, 45*s }, r: tcp(55*s, ""),
		},
		"a pod that was known to terminate left while the agent was away": {
			change: func(b *Book) { p := b.pods["b"]; p.Left, p.Stopped = 45*s, 45*s }, r: tcp(48*s, ""),
		},
		"a pod that was known to terminate left while the agent was away, UDP": {
			change: func(b *Book) { p := b.pods["b"]; p.Left, p.Stopped = 45*s, 45*s }, r: udp(tcp(48*s, "")), want: Unseen,
		},
		"the agent was away just before the pod could be known to go": {
			change: func(b *Book) { b.away[Agent] = []Span{{21 * s, 31 * s}} }, r: tcp(30*s+s/2, ""), want: Unseen,
		},
		"the source was away just before the pod could be known to go": {
			change: func(b *Book) { b.away[Source] = []Span{{21 * s, 31 * s}} }, r: tcp(30*s+s/2, ""), want: Unseen,
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := book()
			if c.change != nil {
				c.change(b)
			}
			b.Request(c.r)
			v := b.Judge()
			n := v.TCP
			if c.r.Protocol == UDP {
				n = v.UDP
			}
			if c.want == "" && (n.Failed != 1 || len(v.Broken) != 1) || c.want != "" && (n.Failed != 0 || n.Apart[c.want] != 1 || !v.Held()) {
				t.Errorf("want the reason %q, have:\n%s", c.want, v.String())
			}
		})
	}
}

func TestAnAnswerOfAPodThatIsKnownToHaveGoneIsABrokenPromise(t *testing.T) {
	for name, c := range map[string]struct {
		protocol    string
		start       time.Duration
		pod         string
		stray, late int
	}{
		"it is there":                    {TCP, 10 * s, "b", 0, 0},
		"it terminates for a moment":     {TCP, 21 * s, "b", 0, 0},
		"it terminates, as is known":     {TCP, 25 * s, "b", 0, 1},
		"it terminates, UDP":             {UDP, 25 * s, "b", 0, 0},
		"it has left a moment ago, UDP":  {UDP, 31 * s, "b", 0, 0},
		"it has left, as is known":       {UDP, 33 * s, "b", 1, 0},
		"it has left, as is known, TCP":  {TCP, 33 * s, "b", 1, 0},
		"the other one is there for all": {TCP, 33 * s, "a", 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			b := book()
			r := tcp(c.start, c.pod)
			r.Protocol = c.protocol
			b.Request(r)
			if v := b.Judge(); v.Stray != c.stray || v.Late != c.late || len(v.Broken) != c.stray+c.late {
				t.Error(v.String())
			}
		})
	}
}

func TestAnAnswerOfAPodThatIsNotTheServicesIsABrokenPromise(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Book)
		pod    string
		wrong  int
	}{
		"its own":                        {nil, "a", 0},
		"another Service's":              {nil, "c", 1},
		"one that nobody knows":          {nil, "x", 1},
		"one without a name":             {nil, "", 1},
		"another's, as the port moved":   {func(b *Book) { b.withdrawAt(10*s+s/20, "web") }, "c", 0},
		"another's, the address is away": {func(b *Book) { b.absent[at.Addr()] = []Span{{9 * s, Never}} }, "c", 1},
	} {
		for _, protocol := range []string{TCP, UDP} {
			t.Run(name+", "+protocol, func(t *testing.T) {
				b := book()
				b.Pod("c", func(p *Pod, _ time.Duration) { p.Deployment = "other" })
				if c.change != nil {
					c.change(b)
				}
				r := tcp(10*s, c.pod)
				r.Protocol, r.Err = protocol, ""
				b.Request(r)
				if v := b.Judge(); v.Wrong != c.wrong || len(v.Broken) != c.wrong || v.Held() != (c.wrong == 0) {
					t.Error(v.String())
				}
			})
		}
	}
}

func TestARequestThatFailsAfterItsVirtualServerWasDeletedIsTold(t *testing.T) {
	for name, c := range map[string]struct {
		change  func(*Book)
		r       Request
		missing int
	}{
		"just before":               {func(b *Book) { b.deleted[at] = []time.Duration{9 * s} }, tcp(10*s, ""), 1},
		"meanwhile":                 {func(b *Book) { b.deleted[at] = []time.Duration{10*s + s/20} }, tcp(10*s, ""), 1},
		"the second time":           {func(b *Book) { b.deleted[at] = []time.Duration{2 * s, 60 * s} }, tcp(61*s, ""), 1},
		"afterwards":                {func(b *Book) { b.deleted[at] = []time.Duration{11 * s} }, tcp(10*s, ""), 0},
		"long since, and is mended": {func(b *Book) { b.deleted[at] = []time.Duration{2 * s} }, tcp(60*s, ""), 0},
		"that of another port":      {func(b *Book) { b.deleted[moved] = []time.Duration{9 * s} }, tcp(10*s, ""), 0},
		"that of TCP":               {func(b *Book) { b.deleted[at] = []time.Duration{9 * s} }, udp(tcp(10*s, "")), 0},
		"it was answered":           {func(b *Book) { b.deleted[at] = []time.Duration{9 * s} }, tcp(10*s, "a"), 0},
		"it need not be answered": {func(b *Book) {
			b.deleted[at], b.absent[at.Addr()] = []time.Duration{9 * s}, []Span{{9 * s, Never}}
		}, tcp(10*s, ""), 0},
	} {
		b := book()
		c.change(b)
		b.Request(c.r)
		if v := b.Judge(); v.Missing != c.missing {
			t.Errorf("%s: %d, want %d:\n%s", name, v.Missing, c.missing, v.String())
		}
	}
	b := book()
	b.Deleted(at)
	now := tcp(b.Now(), "")
	b.withdrawAt(0, "web")
	b.promiseAt(-10*s, "web", "d", at.Port())
	b.Request(now)
	if v := b.Judge(); v.Missing != 1 {
		t.Errorf("noted now: %d:\n%s", v.Missing, v.String())
	}
}

func TestAConnectionThatEndsBeforeItsPodIsCut(t *testing.T) {
	for name, c := range map[string]struct {
		c    Connection
		gone time.Duration // when the Service goes; 0 is never
		want Connections
	}{
		"the client ended it":             {Connection{Pod: "a", To: 10 * s}, 0, Connections{ByClient: 1}},
		"it broke":                        {Connection{Pod: "a", To: 10 * s, Err: "reset"}, 0, Connections{Cut: 1}},
		"it broke before its pod went":    {Connection{Pod: "b", To: 29 * s, Err: "reset"}, 0, Connections{Cut: 1}},
		"it ended with its pod":           {Connection{Pod: "b", To: 30 * s, Err: "EOF"}, 0, Connections{WithPod: 1}},
		"it was silent before":            {Connection{Pod: "b", Sent: 20 * s, To: 50 * s, Timeout: true, Err: "timeout"}, 0, Connections{Cut: 1}},
		"it was silent with its pod":      {Connection{Pod: "b", Sent: 29*s + s/2, To: 50 * s, Timeout: true, Err: "timeout"}, 0, Connections{WithPod: 1}},
		"its Service has gone":            {Connection{Pod: "a", To: 30 * s, Err: "reset"}, 10 * s, Connections{Cut: 1}},
		"its Service had gone long since": {Connection{Pod: "a", To: 71 * s, Err: "reset"}, 10 * s, Connections{WithService: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			b := book()
			if c.gone > 0 {
				b.withdrawAt(c.gone, "web")
			}
			c.c.Service, c.c.At = "web", at
			b.Connection(c.c)
			v := b.Judge()
			got := v.Connections
			got.Opened, got.Longest = 0, 0
			if got != c.want || v.Held() != (c.want.Cut == 0) {
				t.Error(v.String())
			}
		})
	}
}

func TestAConnectionThatAskedWhileItsAddressWasAwayIsCountedApart(t *testing.T) {
	for name, c := range map[string]struct {
		absent Span
		cut    int
	}{
		"meanwhile":              {Span{9*s + s/2, 11 * s}, 0},
		"long before":            {Span{2 * s, 4 * s}, 1},
		"only after it had died": {Span{13 * s, 14 * s}, 1},
		"between two requests":   {Span{9*s + s/2, 9*s + s*3/4}, 1},
		"after the last answer":  {Span{9*s + s/10, 9*s + s/2}, 0},
	} {
		b := book()
		b.absent[at.Addr()] = []Span{c.absent}
		b.Connection(Connection{Service: "web", At: at, Pod: "a", Heard: 9 * s, Sent: 10 * s, To: 15 * s, Err: "reset"})
		if v := b.Judge(); v.Connections.Cut != c.cut || v.Connections.WithAddress != 1-c.cut {
			t.Errorf("%s: %s", name, v.String())
		}
	}
}

func TestABrokenPromiseIsShownWithWhatWasDoneBefore(t *testing.T) {
	b := book()
	b.events = []Event{{6 * s, "long ago"}, {8 * s, "kill -9"}, {11 * s, "afterwards"}}
	b.Request(tcp(10*s, ""))
	v := b.Judge()
	if out := v.String(); !strings.Contains(out, "2s before: kill -9") || strings.Contains(out, "long ago") || strings.Contains(out, "afterwards") {
		t.Error(out)
	}
}
