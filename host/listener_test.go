package host

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net/netip"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// recordedMessage is an answer of a kernel, and how the listeners in it are written.
type recordedMessage struct {
	protocol  frontend.Protocol
	message   []byte
	listeners string
}

func recordedMessages(t testing.TB) (all []recordedMessage) {
	t.Helper()
	file, err := os.Open("testdata/listeners/linux-6.1.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "#") {
			continue
		}
		listeners, text, _ := strings.Cut(lines.Text(), " ")
		message, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		scheme, _, _ := strings.Cut(listeners, ":")
		protocol, err := frontend.ParseProtocol(scheme)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, recordedMessage{protocol: protocol, message: message, listeners: listeners})
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

func listenersText(all []Listener) string {
	texts := make([]string, 0, len(all))
	for _, l := range all {
		texts = append(texts, l.String())
	}
	return strings.Join(texts, ",")
}

func TestListenersAreReadFromWhatTheKernelSays(t *testing.T) {
	for _, r := range recordedMessages(t) {
		got := appendListeners(nil, r.message, r.protocol)
		if listenersText(got) != r.listeners {
			t.Errorf("got %s, want %s", listenersText(got), r.listeners)
		}
		for _, l := range got {
			if l.Inode == 0 || l.UID != 0 || l.Device != 0 || l.V6Only && l.Addr != netip.IPv6Unspecified() {
				t.Errorf("%s: %#v", l, l)
			}
		}
	}
}

func TestUserDeviceAndInodeOfAListenerAreRead(t *testing.T) {
	message := recordedMessages(t)[0].message
	binary.NativeEndian.PutUint32(message[40:], 7)
	binary.NativeEndian.PutUint32(message[64:], 1000)
	binary.NativeEndian.PutUint32(message[68:], 4026)
	got := appendListeners(nil, message, frontend.TCP)
	if len(got) != 1 || got[0].Device != 7 || got[0].UID != 1000 || got[0].Inode != 4026 {
		t.Errorf("got %#v", got)
	}
}

func TestSocketsThatTakeNoRequestsAreNoListeners(t *testing.T) {
	for name, change := range map[string]func(m []byte) []byte{
		"connected":               func(m []byte) []byte { m[1] = 1; return m },
		"closed":                  func(m []byte) []byte { m[1] = stateClosed; return m },
		"of another family":       func(m []byte) []byte { m[0] = unix.AF_UNIX; return m },
		"without a port":          func(m []byte) []byte { m[4], m[5] = 0, 0; return m },
		"cut off":                 func(m []byte) []byte { return m[:sizeofDiagMessage-1] },
		"nothing":                 func([]byte) []byte { return nil },
		"of UDP, in state LISTEN": func(m []byte) []byte { m[1] = stateListen; return m },
	} {
		r := recordedMessages(t)[0]
		protocol := frontend.TCP
		if strings.Contains(name, "UDP") {
			protocol = frontend.UDP
		}
		if got := appendListeners(nil, change(r.message), protocol); got != nil {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

func TestOnlySocketsThatTakeRequestsAreAskedFor(t *testing.T) {
	for protocol, states := range map[frontend.Protocol]uint32{
		frontend.TCP: 1 << stateListen, frontend.UDP: 1 << stateClosed, frontend.SCTP: 1 << stateListen,
	} {
		request := listenerRequest(unix.AF_INET6, protocol).Serialize()[unix.NLMSG_HDRLEN:]
		if len(request) != sizeofDiagRequest || request[0] != unix.AF_INET6 || request[1] != byte(protocol) ||
			binary.NativeEndian.Uint32(request[4:]) != states {
			t.Errorf("%s: asked %x", protocol, request)
		}
	}
}

func TestASocketTakesWhatIsSentToItsAddress(t *testing.T) {
	addr := netip.MustParseAddr
	v4, other, v6, mapped := addr("10.1.0.10"), addr("10.1.0.11"), addr("fd01::10"), addr("::ffff:10.1.0.10")
	for name, c := range map[string]struct {
		l     Listener
		takes []netip.Addr
		not   []netip.Addr
	}{
		"IPv4 wildcard":      {Listener{Addr: netip.IPv4Unspecified()}, []netip.Addr{v4, other, mapped}, []netip.Addr{v6}},
		"IPv6 wildcard":      {Listener{Addr: netip.IPv6Unspecified()}, []netip.Addr{v4, other, v6, mapped}, nil},
		"IPv6 only wildcard": {Listener{Addr: netip.IPv6Unspecified(), V6Only: true}, []netip.Addr{v6}, []netip.Addr{v4, mapped}},
		"IPv4 address":       {Listener{Addr: v4}, []netip.Addr{v4, mapped}, []netip.Addr{other, v6}},
		"IPv6 address":       {Listener{Addr: v6}, []netip.Addr{v6, addr("fd01::10%eth0")}, []netip.Addr{v4, addr("fd01::11")}},
	} {
		for _, a := range c.takes {
			if !c.l.Takes(a) {
				t.Errorf("%s does not take %s", name, a)
			}
		}
		for _, a := range append(c.not, netip.Addr{}) {
			if c.l.Takes(a) {
				t.Errorf("%s takes %s", name, a)
			}
		}
	}
}

func TestListenersEndWithTheirContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Listeners(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func FuzzListeners(f *testing.F) {
	for _, r := range recordedMessages(f) {
		f.Add(byte(r.protocol), r.message)
	}
	f.Fuzz(func(t *testing.T, protocol byte, message []byte) {
		for _, l := range appendListeners(nil, message, frontend.Protocol(protocol)) {
			if !l.Addr.IsValid() || l.Addr.Is4In6() || l.Port == 0 || l.V6Only && l.Addr != netip.IPv6Unspecified() || l.Protocol != frontend.Protocol(protocol) {
				t.Errorf("%x is read as %#v", message, l)
			}
		}
	})
}
