package frontend_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

func TestProtocolsAreReadInAnyCaseAndNothingElseIs(t *testing.T) {
	for text, want := range map[string]frontend.Protocol{"TCP": frontend.TCP, "udp": frontend.UDP, "Sctp": frontend.SCTP} {
		if got, err := frontend.ParseProtocol(text); got != want || err != nil {
			t.Errorf("%q is read as %s, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "ICMP", "tcp ", "6"} {
		if got, err := frontend.ParseProtocol(text); err == nil {
			t.Errorf("%q is read as %s", text, got)
		}
	}
}

func TestMappedAddressesAndZonesAreNormalised(t *testing.T) {
	for text, want := range map[string]string{
		"::ffff:10.1.0.10": "tcp://10.1.0.10:80", "fd01::10%eth0": "tcp://[fd01::10]:80", "10.1.0.10": "tcp://10.1.0.10:80",
	} {
		if got := frontend.NewKey(netip.MustParseAddr(text), frontend.TCP, 80).String(); got != want {
			t.Errorf("%s becomes %s, want %s", text, got, want)
		}
	}
}

func TestKeysThatNoPacketCanMatchAreInvalid(t *testing.T) {
	addr := netip.MustParseAddr("10.1.0.10")
	if err := frontend.NewKey(addr, frontend.TCP, 30080).Validate(); err != nil {
		t.Error(err)
	}
	for want, key := range map[string]frontend.Key{
		"no address":        {Protocol: frontend.TCP, Port: 80},
		"port 0":            frontend.NewKey(addr, frontend.TCP, 0),
		"proto-1 cannot":    frontend.NewKey(addr, 1, 80),
		"one host":          frontend.NewKey(netip.MustParseAddr("ff02::1"), frontend.TCP, 80),
		"address 0.0.0.0":   frontend.NewKey(netip.IPv4Unspecified(), frontend.TCP, 80),
		"in canonical form": {Addr: netip.MustParseAddr("::ffff:10.1.0.10"), Protocol: frontend.TCP, Port: 80},
	} {
		if err := key.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", key, err, want)
		}
	}
}

func TestOrderIsAddressThenPortThenProtocol(t *testing.T) {
	want := []string{
		"tcp://10.1.0.9:80", "tcp://10.1.0.10:80", "udp://10.1.0.10:80", "sctp://10.1.0.10:80", "tcp://10.1.0.10:443", "tcp://[fd01::1]:80",
	}
	var keys []frontend.Key
	for _, text := range []string{want[5], want[3], want[0], want[4], want[2], want[1]} {
		key, err := frontend.ParseKey(text)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, key)
	}
	slices.SortFunc(keys, frontend.Key.Compare)
	for i, key := range keys {
		if key.String() != want[i] {
			t.Errorf("at %d stands %s, want %s", i, key, want[i])
		}
	}
}

func TestWhatIsPrintedIsReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var addr netip.Addr
		if rapid.Bool().Draw(t, "IPv4") {
			addr = netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "address")))
		} else {
			addr = netip.AddrFrom16([16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "address")))
		}
		key := frontend.NewKey(addr, rapid.SampledFrom(frontend.Protocols()).Draw(t, "protocol"), rapid.Uint16().Draw(t, "port"))
		if got, err := frontend.ParseKey(key.String()); got != key || err != nil {
			t.Fatalf("%s is read as %s, %v", key, got, err)
		}
	})
}

func FuzzParseKey(f *testing.F) {
	for _, seed := range []string{"tcp://10.1.0.10:80", "udp://[fd01::1]:53", "tcp://[::ffff:1.2.3.4]:80", "://", "tcp://[fe80::1%x]:1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		key, err := frontend.ParseKey(text)
		if err != nil {
			return
		}
		if again, err := frontend.ParseKey(key.String()); again != key || err != nil {
			t.Errorf("%q is read as %s, and that as %s, %v", text, key, again, err)
		}
	})
}
