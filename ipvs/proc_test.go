package ipvs

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

const procHeader = `IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port Forward Weight ActiveConn InActConn
`

func TestRealServersAreReadFromProc(t *testing.T) {
	at := netip.MustParseAddrPort
	type reals = map[netip.AddrPort]RealServer
	for _, c := range []struct {
		name, text string
		want       procTable[RealServer]
	}{
		{"an empty table", "", procTable[RealServer]{}},
		{
			"every protocol, family and forwarding method",
			`TCP  0A01000A:7580 wrr persistent 300 FFFFFF00
  -> 0AF40102:1F90      Masq    1      0          0         
  -> 0AF40103:1F90      Local   0      12         345       
UDP  [fd01:0000:0000:0000:0000:0000:0000:0010]:0035 sh 
  -> [fd02:0000:0000:0000:0000:0000:0000:0002]:0035      Tunnel  70000  0          0         
SCTP 0A01000A:7580 rr 
  -> 0AF40102:FFFF      Route   2147483647 0          0         
UDP  0A01000A:7581 rr ops 
`,
			procTable[RealServer]{
				mustKey("tcp://10.1.0.10:30080"): reals{
					at("10.244.1.2:8080"): {Weight: 1},
					at("10.244.1.3:8080"): {Forwarding: Local},
				},
				mustKey("udp://[fd01::10]:53"):    reals{at("[fd02::2]:53"): {Forwarding: Tunnel, Weight: 70000}},
				mustKey("sctp://10.1.0.10:30080"): reals{at("10.244.1.2:65535"): {Forwarding: Route, Weight: 1<<31 - 1}},
				mustKey("udp://10.1.0.10:30081"):  reals{},
			},
		},
		{
			"firewall marks and other protocols are passed over with their real servers",
			`FWM  00000007 rr
  -> 0AF40102:1F90      Masq    1      0          0         
TCP  0A01000A:7580 rr 
  -> 0AF40103:1F90      Masq    1      0          0         
IP_253  00000000:0000 rr 
  -> 0AF40104:1F90      Masq    1      0          0         
ICMP  0A01000A:0000 rr 
`,
			procTable[RealServer]{mustKey("tcp://10.1.0.10:30080"): reals{at("10.244.1.3:8080"): {Weight: 1}}},
		},
		{
			"a virtual server that comes twice is merged",
			`TCP  0A01000A:7580 rr 
  -> 0AF40102:1F90      Masq    1      0          0         
  -> 0AF40104:1F90      Masq    1      0          0         
TCP  0A01000A:7580 rr 
  -> 0AF40102:1F90      Masq    2      0          0         
  -> 0AF40103:1F90      Masq    1      0          0         
`,
			procTable[RealServer]{mustKey("tcp://10.1.0.10:30080"): reals{
				at("10.244.1.2:8080"): {Weight: 2}, at("10.244.1.3:8080"): {Weight: 1}, at("10.244.1.4:8080"): {Weight: 1},
			}},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := parseProc(strings.NewReader(procHeader+c.text), procConfig)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("the table differs (-want +got):\n%s", diff)
			}
		})
	}
}

// procConfig keeps the configuration of a real server.
func procConfig(real RealServer, _ []byte) (RealServer, error) { return real, nil }

func TestConnectionsAreReadFromProc(t *testing.T) {
	const text = procHeader + `TCP  0A01000A:7580 wrr persistent 300 FFFFFF00
  -> 0AF40102:1F90      Masq    1      0          0         
  -> 0AF40103:1F90      Local   0      12         345       
UDP  [fd01:0000:0000:0000:0000:0000:0000:0010]:0035 sh 
  -> [fd02:0000:0000:0000:0000:0000:0000:0002]:0035      Tunnel  2147483647 2147483647 2147483647
  -> [fd02:0000:0000:0000:0000:0000:0000:0003]:0035      Masq    1      -1         3         
FWM  00000007 rr
  -> 0AF40102:1F90      Masq    1      9          9         
UDP  0A01000A:7581 rr ops 
`
	const most = 1<<31 - 1
	at := netip.MustParseAddrPort
	type uses = map[netip.AddrPort]RealUse
	want := procTable[RealUse]{
		mustKey("tcp://10.1.0.10:30080"): uses{
			at("10.244.1.2:8080"): {Weight: 1},
			at("10.244.1.3:8080"): {Connections: Connections{Active: 12, Inactive: 345}},
		},
		mustKey("udp://[fd01::10]:53"): uses{
			at("[fd02::2]:53"): {Weight: most, Connections: Connections{Active: most, Inactive: most}},
			at("[fd02::3]:53"): {Weight: 1, Connections: Connections{Inactive: 3}}, // a count below zero is none at all
		},
		mustKey("udp://10.1.0.10:30081"): uses{},
	}
	got, err := parseProc(strings.NewReader(text), procUse)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the table differs (-want +got):\n%s", diff)
	}
	for _, bad := range []string{"", "1", "x 1", "1 x", "1.5 1", "4294967296 1"} {
		line := procHeader + "TCP  0A01000A:7580 rr\n  -> 0AF40102:1F90      Masq    1      " + bad + "\n"
		if _, err := parseProc(strings.NewReader(line), procUse); err == nil || !strings.Contains(err.Error(), "line 5: real server 10.244.1.2:8080") {
			t.Errorf("%q: %v, want an error that names line and real server", bad, err)
		}
	}
}

func TestWhatIsNoTableIsAnErrorThatNamesTheLine(t *testing.T) {
	for text, want := range map[string]string{
		"Prot LocalAddress:Port\n":                                            "line 1",
		procHeader + "TCP  0A01000A rr\n":                                     "line 4",
		procHeader + "TCP  0A01000A:12345 rr\n":                               "line 4",
		procHeader + "TCP  0A01000A0:1F90 rr\n":                               "line 4",
		procHeader + "TCP  [fd01::10%eth0]:1F90 rr\n":                         "line 4",
		procHeader + "TCP  [10.0.0.1]:1F90 rr\n":                              "line 4",
		procHeader + "\n":                                                     "line 4",
		procHeader + "TCP  0A01000A:7580 rr\n  -> \n":                         "line 5",
		procHeader + "TCP  0A01000A:7580 rr\n  -> 0AF40102:1F90 Masq":         "line 5",
		procHeader + "TCP  0A01000A:7580 rr\n  -> 0AF40102:1F90 Masq -1 0 0":  "line 5",
		procHeader + "TCP  0A01000A:7580 rr\n  -> 0AF40102:1F90 Bypass 1 0 0": "line 5",
	} {
		if _, err := parseProc(strings.NewReader(text), procConfig); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want an error with %q", text, err, want)
		}
	}
}

func FuzzProc(f *testing.F) {
	f.Add(procHeader + "TCP  0A01000A:7580 wrr persistent 300 FFFFFF00\n  -> 0AF40102:1F90      Masq    1      0          0\n")
	f.Add(procHeader + "UDP  [fd01:0000:0000:0000:0000:0000:0000:0010]:0035 sh\n  -> [fd02:0000:0000:0000:0000:0000:0000:0002]:0035      Tunnel  70000  0  0\n")
	f.Add(procHeader + "FWM  00000007 rr\n  -> 0AF40102:1F90      Masq    1      0          0\n")
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		table, err := parseProc(strings.NewReader(text), procConfig)
		if err != nil {
			return
		}
		uses, err := parseProc(strings.NewReader(text), procUse)
		if err == nil && len(uses) != len(table) {
			t.Errorf("%d virtual servers with connections, %d without", len(uses), len(table))
		}
		for key, reals := range table {
			for addr, u := range uses[key] {
				if r, exists := reals[addr]; !exists || u.Weight != r.Weight || u.Active > 1<<31-1 || u.Inactive > 1<<31-1 {
					t.Errorf("real server %v %v %v", addr, r, u)
				}
			}
			if !key.Addr.IsValid() || (key.Protocol != frontend.TCP && key.Protocol != frontend.UDP && key.Protocol != frontend.SCTP) {
				t.Errorf("virtual server %v", key)
			}
			for addr, r := range reals {
				if !addr.Addr().IsValid() || r.Forwarding > Route || r.Weight > 1<<31-1 {
					t.Errorf("real server %v %v", addr, r)
				}
			}
		}
	})
}
