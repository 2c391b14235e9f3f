package ipvs_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

// savable has each option of the ipvsadm form; savableText is the table it came from.
const (
	savableText = `
		tcp://10.1.0.10:443 wlc persistent 10800s /24
			10.244.1.2:8443 masq weight 65535
		tcp://10.1.0.10:30080 sh fallback port sched-3
			10.244.1.2:8080 masq weight 1
			10.244.2.7:8080 masq weight 10 upper 100 lower 50
		udp://10.1.0.10:30080 rr one-packet sched-1 sched-3
		sctp://10.1.0.10:30080 mh fallback
			10.244.1.2:30080 route weight 1
			10.244.1.3:30080 tunnel weight 1
		tcp://[fd01::10]:30080 rr persistent 300s /64
			[fd02::2]:8080 masq weight 0
		udp://[fd01::10]:30080 rr persistent 1s one-packet sched-2`
	savable = `-A -t 10.1.0.10:443 -s wlc -p 10800 -M 255.255.255.0
-a -t 10.1.0.10:443 -r 10.244.1.2:8443 -m -w 65535
-A -t 10.1.0.10:30080 -s sh -b sh-fallback,sh-port,flag-3
-a -t 10.1.0.10:30080 -r 10.244.1.2:8080 -m -w 1
-a -t 10.1.0.10:30080 -r 10.244.2.7:8080 -m -w 10 -x 100 -y 50
-A -u 10.1.0.10:30080 -s rr -o -b flag-1,flag-3
-A --sctp-service 10.1.0.10:30080 -s mh -b mh-fallback
-a --sctp-service 10.1.0.10:30080 -r 10.244.1.2:30080 -g -w 1
-a --sctp-service 10.1.0.10:30080 -r 10.244.1.3:30080 -i -w 1 --tun-type ipip
-A -t [fd01::10]:30080 -s rr -p 300 -M 64
-a -t [fd01::10]:30080 -r [fd02::2]:8080 -m -w 0
-A -u [fd01::10]:30080 -s rr -p 1 -o -b flag-2
`
)

func save(t testing.TB, table ipvs.Table) string {
	t.Helper()
	var b strings.Builder
	if err := table.Save(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestSavedLinesAreThoseOfIpvsadm(t *testing.T) {
	table := mustParse(t, savableText)
	if diff := cmp.Diff(savable, save(t, table)); diff != "" {
		t.Errorf("saved (-want +got):\n%s", diff)
	}
	back, err := ipvs.ParseSave(strings.NewReader(savable))
	if err != nil {
		t.Fatal(err)
	}
	wantTable(t, "read back", back, table)
}

func TestSavedLinesAreReadWithDefaultsOfIpvsadm(t *testing.T) {
	got, err := ipvs.ParseSave(strings.NewReader(`
# By hand.
ipvsadm -A -u 10.1.0.10:80 -o -p -M 255.255.255.255 -s mh -b flag-1,mh-port
-a -r 10.244.1.2:80 -u 10.1.0.10:80
-A -t 10.1.0.20:80
`))
	if err != nil {
		t.Fatal(err)
	}
	wantTable(t, "read", got, mustParse(t, `
		udp://10.1.0.10:80 mh persistent 300s one-packet fallback port
			10.244.1.2:80 route weight 1
		tcp://10.1.0.20:80 wlc`))
}

func TestSaveRefusesWhatIpvsadmCannotSayAndWritesNothing(t *testing.T) {
	key := frontend.NewKey(ours().addrs[0], frontend.TCP, 80)
	odd := key
	odd.Protocol = 1
	real := ours().reals4[0]
	for name, table := range map[string]ipvs.Table{
		"local forwarding": mustParse(t, "tcp://10.1.0.9:80 rr\ntcp://10.1.0.10:80 rr\n10.244.1.2:80 local weight 1"),
		"unknown flag":     {key: {VirtualServer: ipvs.VirtualServer{Scheduler: "rr", Flags: 0x40}}},
		"unknown protocol": {odd: {VirtualServer: ipvs.VirtualServer{Scheduler: "rr"}}},
		"unknown forwarding": {key: {
			VirtualServer: ipvs.VirtualServer{Scheduler: "rr"},
			Reals:         map[netip.AddrPort]ipvs.RealServer{real: {Forwarding: 5}},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			var b strings.Builder
			err := table.Save(&b)
			if err == nil || !strings.Contains(err.Error(), "10.1.0.10:") || !strings.Contains(err.Error(), "ipvsadm has no option for") {
				t.Errorf("error %v does not name the virtual server and the reason", err)
			}
			if b.Len() != 0 {
				t.Errorf("wrote %q", b.String())
			}
		})
	}
}

func TestSaveReturnsTheErrorOfTheWriter(t *testing.T) {
	if err := mustParse(t, savableText).Save(brokenPipe{}); !errors.Is(err, errBroken) {
		t.Errorf("got %v", err)
	}
}

func TestSavedLinesWithErrorsNameLineAndReason(t *testing.T) {
	const vs = "-A -t 10.1.0.10:80\n"
	for name, test := range map[string]struct{ text, want string }{
		"other command":           {"-D -t 10.1.0.10:80", "line 1: command -D is not one that ipvsadm -S writes"},
		"no virtual server":       {"-A -s rr", "line 1: no virtual server (-t, -u or --sctp-service)"},
		"two virtual servers":     {"-A -t 10.1.0.10:80 -u 10.1.0.10:80", "two virtual servers in one line"},
		"firewall mark":           {"-A -f 1 -s rr", "no virtual server"},
		"host name":               {"-A -t localhost:80", "line 1: -t: "},
		"persistence engine":      {"-A -u 10.1.0.10:80 -p 5 --pe sip", "no place here for --pe"},
		"weight of a virtual one": {"-A -t 10.1.0.10:80 -w 1 -g", "no place here for -g, -w"},
		"mask without -p":         {"-A -t 10.1.0.10:80 -M 255.255.255.0", "no place here for -M"},
		"mask with a hole":        {"-A -t 10.1.0.10:80 -p 5 -M 255.0.255.0", "-M 255.0.255.0: not a mask"},
		"mask of length 0":        {"-A -t 10.1.0.10:80 -p 5 -M 0.0.0.0", "-M 0.0.0.0: not a mask"},
		"v4 mask for v6":          {"-A -t [fd01::10]:80 -p 5 -M 255.255.255.0", "not a prefix length from 1 to 128"},
		"option twice":            {"-A -t 10.1.0.10:80 -s rr -s wrr", "option -s stands there twice"},
		"stray word":              {"-A rr", `unexpected word "rr"`},
		"flag of sh for mh":       {"-A -t 10.1.0.10:80 -s mh -b sh-port", `-b: unknown flag "sh-port" of scheduler "mh"`},
		"flag without a name":     {"-A -t 10.1.0.10:80 -b", `-b: unknown flag ""`},
		"argument of a flag":      {"-A -u 10.1.0.10:80 -o 1", `-o takes no argument, "1" stands there`},
		"real server before":      {"-a -t 10.1.0.10:80 -r 10.244.1.2:80 -m", "line 1: real server 10.244.1.2:80 has no virtual server"},
		"no real server":          {vs + "-a -t 10.1.0.10:80 -m", "line 2: "},
		"two methods":             {vs + "-a -t 10.1.0.10:80 -r 10.244.1.2:80 -m -g", "two forwarding methods"},
		"other tunnel":            {vs + "-a -t 10.1.0.10:80 -r 10.244.1.2:80 -i --tun-type gue", "only ipip tunnels"},
		"no tunnel":               {vs + "-a -t 10.1.0.10:80 -r 10.244.1.2:80 -m --tun-type ipip", "no place here for --tun-type"},
		"negative weight":         {vs + "-a -t 10.1.0.10:80 -r 10.244.1.2:80 -m -w -1", "-w : not a number"},
		"line without an end":     {vs + strings.Repeat("x", 1<<17), "line 2: "},
	} {
		t.Run(name, func(t *testing.T) {
			table, err := ipvs.ParseSave(strings.NewReader(test.text))
			if err == nil {
				t.Fatalf("read without an error:\n%s", table)
			}
			if !strings.Contains(err.Error(), test.want) || !strings.HasPrefix(err.Error(), "line ") {
				t.Errorf("error is\n\t%v\nwant it to contain\n\t%s", err, test.want)
			}
		})
	}
}

func TestPropertySavedLinesComeBackAsTheSameTable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := anyTable().Draw(t, "table")
		var b strings.Builder
		if err := table.Save(&b); err != nil {
			t.Fatalf("%v", err)
		}
		back, err := ipvs.ParseSave(strings.NewReader(b.String()))
		if err != nil {
			t.Fatalf("%v in\n%s", err, b.String())
		}
		wantTable(t, "read back", back, table)
	})
}

func FuzzParseSave(f *testing.F) {
	f.Add(savable)
	f.Add("ipvsadm -A -t 10.1.0.10:80 -p -M")
	f.Add("-A -t 10.1.0.10:80\n-a -t 10.1.0.10:80 -r -w")
	f.Fuzz(func(t *testing.T, text string) {
		table, err := ipvs.ParseSave(strings.NewReader(text))
		if err != nil {
			return
		}
		if err := table.Validate(); err != nil {
			t.Fatalf("read an invalid table: %v", err)
		}
		back, err := ipvs.ParseSave(strings.NewReader(save(t, table)))
		if err != nil {
			t.Fatal(err)
		}
		wantTable(t, "read back", back, table)
	})
}

type brokenPipe struct{}

var errBroken = errors.New("broken")

func (brokenPipe) Write([]byte) (int, error) { return 0, errBroken }
