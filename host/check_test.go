package host

import (
	"context"
	"errors"
	"os/exec"
	"strings"
	"testing"
	"testing/fstest"
)

// expect is an item as a test wants it: the status, and parts of the texts.
type expect struct {
	status       Status
	detail, mend string
}

func wantItems(t *testing.T, got []Item, want ...expect) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("got %d items, want %d: %+v", len(got), len(want), got)
	}
	for i, w := range want {
		g := got[i]
		if g.Status != w.status || !strings.Contains(g.Detail, w.detail) || !strings.Contains(g.Mend, w.mend) {
			t.Errorf("item %d: got %s %q, mend %q, want %s %q, mend %q", i, g.Status, g.Detail, g.Mend, w.status, w.detail, w.mend)
		}
		if g.Name == "" || g.Detail == "" {
			t.Errorf("item %d says nothing: %+v", i, g)
		}
		if g.Status == OK && g.Mend != "" {
			t.Errorf("item %d is ok but asks to mend: %+v", i, g)
		}
	}
}

func TestWorst(t *testing.T) {
	for _, tc := range []struct {
		in   []Item
		want Status
	}{
		{nil, OK},
		{[]Item{{Status: OK}, {Status: Warn}}, Warn},
		{[]Item{{Status: Fail}, {Status: Warn}}, Fail},
	} {
		if got := Worst(tc.in); got != tc.want {
			t.Errorf("got %s, want %s", got, tc.want)
		}
	}
}

func TestCheckKernel(t *testing.T) {
	for release, want := range map[string]expect{
		"6.1.0-56-amd64":    {status: OK},
		"5.9.0":             {status: OK},
		"10.0":              {status: OK},
		"5.8.18-generic":    {Warn, "conn_reuse_mode", "from 5.9 on"},
		"4.19.0-27-amd64":   {Warn, "conn_reuse_mode", "from 5.9 on"},
		"a kernel of mine":  {Warn, "cannot be read", ""},
		"6.18.44-fc-v657+1": {status: OK},
	} {
		t.Run(release, func(t *testing.T) { wantItems(t, []Item{CheckKernel(release)}, want) })
	}
}

func TestCheckIPVS(t *testing.T) {
	wantItems(t, []Item{
		CheckIPVS(t.Context(), func(context.Context) error { return nil }),
		CheckIPVS(t.Context(), func(context.Context) error { return errors.New("no family IPVS") }),
	}, expect{status: OK}, expect{Fail, "no family IPVS", "modprobe ip_vs"})
}

func TestCheckSchedulers(t *testing.T) {
	probe := func(_ context.Context, name string) (bool, error) {
		if name == "odd" {
			return false, errors.New("timeout")
		}
		return name == "rr" || name == "mh", nil
	}
	for _, tc := range []struct {
		name, byDefault string
		others          []string
		want            []expect
	}{
		{"all there", "rr", []string{"rr", "mh"}, []expect{{OK, "has it", ""}, {OK, "there: mh", ""}}},
		{"another one is missing", "rr", []string{"mh", "twos"}, []expect{{OK, "", ""}, {OK, "not in this kernel: twos", ""}}},
		{"the default is missing", "twos", nil, []expect{{Fail, "does not have it", "modprobe ip_vs_twos"}, {OK, "there: none", ""}}},
		{"the kernel does not answer", "odd", []string{"rr"}, []expect{{Fail, "timeout", ""}, {OK, "there: rr", ""}}},
		{"nor about another", "rr", []string{"odd"}, []expect{{OK, "", ""}, {Warn, "odd: timeout", ""}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			wantItems(t, CheckSchedulers(t.Context(), tc.byDefault, tc.others, probe), tc.want...)
		})
	}
}

func TestCheckNFT(t *testing.T) {
	for _, tc := range []struct {
		name, version string
		versionErr    error
		listErr       error
		want          []expect
	}{
		{"as it should be", "nftables v1.0.6 (Lester Gooch #5)\n", nil, nil, []expect{{OK, "1.0.6", ""}, {OK, "can be read", ""}}},
		{"the oldest that will do", "nftables v1.0.1 (Fearless Fosdick #3)", nil, nil, []expect{{OK, "", ""}, {OK, "", ""}}},
		{"a later minor", "nftables v1.1.0", nil, nil, []expect{{OK, "", ""}, {OK, "", ""}}},
		{"too old", "nftables v1.0.0 (x)", nil, nil, []expect{{Fail, "too old, 1.0.1", "install nftables 1.0.1"}, {OK, "", ""}}},
		{"much too old", "nftables v0.9.8 (E.D.S.)", nil, nil, []expect{{Fail, "too old", "install"}, {OK, "", ""}}},
		{"unreadable", "nftables of mine", nil, nil, []expect{{Warn, `"nftables of mine"`, ""}, {OK, "", ""}}},
		{"not installed", "", &exec.Error{Name: "nft", Err: exec.ErrNotFound}, nil, []expect{{Fail, "no nft", "apt-get install nftables"}}},
		{"it crashes", "", errors.New("signal: killed"), nil, []expect{{Fail, "killed", "install"}}},
		{"no right to read", "nftables v1.0.6", nil, errors.New("Operation not permitted"), []expect{{OK, "", ""}, {Fail, "not permitted", "NET_ADMIN"}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			run := func(_ context.Context, name string, args ...string) (string, error) {
				switch strings.Join(append([]string{name}, args...), " ") {
				case "nft --version":
					return tc.version, tc.versionErr
				case "nft list tables":
					return "", tc.listErr
				}
				return "", errors.New("unknown command")
			}
			wantItems(t, CheckNFT(t.Context(), run), tc.want...)
		})
	}
}

func TestRunGivesWhatTheCommandSays(t *testing.T) {
	out, err := Run(t.Context(), "sh", "-c", "echo yes")
	if out != "yes\n" || err != nil {
		t.Errorf("got %q, %v", out, err)
	}
	if _, err := Run(t.Context(), "sh", "-c", "echo because >&2; exit 3"); err == nil || !strings.Contains(err.Error(), "because") {
		t.Errorf("got %v", err)
	}
	if _, err := Run(t.Context(), "no-such-program"); !errors.Is(err, exec.ErrNotFound) {
		t.Errorf("got %v", err)
	}
}

func TestCheckCapabilities(t *testing.T) {
	const all, netAdmin, none = "CapEff:\t000001ffffffffff\n", "CapEff:\t0000000000001000\n", "CapEff:\t0000000000000000\n"
	for _, tc := range []struct {
		name, status string
		loadModules  bool
		want         expect
	}{
		{"root", "Name:\tx\n" + all, true, expect{OK, "NET_ADMIN", ""}},
		{"NET_ADMIN is enough", netAdmin, false, expect{OK, "NET_ADMIN", ""}},
		{"unless modules are missing", netAdmin, true, expect{Warn, "SYS_MODULE is not", "modprobe ip_vs"}},
		{"an ordinary user", none, false, expect{Fail, "NET_ADMIN is missing", "run as root"}},
		{"no line", "Name:\tx\n", false, expect{Warn, "no CapEff", ""}},
		{"a bad line", "CapEff: zz", false, expect{Warn, "effective capabilities", ""}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			wantItems(t, []Item{CheckCapabilities(strings.NewReader(tc.status), tc.loadModules)}, tc.want)
		})
	}
}

func TestCheckSysctls(t *testing.T) {
	files := fstest.MapFS{
		"net/ipv4/vs/conntrack":          {Data: []byte("1\n")},
		"net/ipv4/vs/expire_nodest_conn": {Data: []byte("0\n")},
	}
	wanted := WantedSysctls("")
	wantItems(t, CheckSysctls(files, wanted, func(string) error { return nil }),
		expect{OK, "1", ""},
		expect{OK, "0; the agent sets it to 1", ""},
		expect{Fail, "no such setting", "modprobe ip_vs"})
	wantItems(t, CheckSysctls(files, wanted[:2], func(string) error { return errors.New("read-only file system") }),
		expect{OK, "1", ""},
		expect{Fail, "read-only file system", "sysctl -w net.ipv4.vs.expire_nodest_conn=1"})
}

func TestCheckForwarding(t *testing.T) {
	on := fstest.MapFS{"net/ipv4/ip_forward": {Data: []byte("1\n")}, "net/ipv6/conf/all/forwarding": {Data: []byte("1\n")}}
	off := fstest.MapFS{"net/ipv4/ip_forward": {Data: []byte("0\n")}, "net/ipv6/conf/all/forwarding": {Data: []byte("0\n")}}
	no6 := fstest.MapFS{"net/ipv4/ip_forward": {Data: []byte("1\n")}}
	writable := func(string) error { return nil }
	wantItems(t, CheckForwarding(on, true, true, writable), expect{OK, "1", ""}, expect{OK, "1", ""})
	wantItems(t, CheckForwarding(off, true, true, writable), expect{OK, "the agent sets it", ""}, expect{Warn, "0", "accept_ra=2"})
	wantItems(t, CheckForwarding(no6, true, true, writable), expect{OK, "1", ""}, expect{Warn, "no IPv6", "--nodeport-addresses"})
	wantItems(t, CheckForwarding(off, false, false, writable))
}

func TestWritableSaysWhyNot(t *testing.T) {
	s := fakeRoot(t, map[string]string{conntrack: "0"})
	if err := s.Writable(conntrack); err != nil {
		t.Error(err)
	}
	if err := s.Writable("net.ipv4.vs.none"); err == nil || !strings.Contains(err.Error(), "net.ipv4.vs.none") {
		t.Errorf("got %v", err)
	}
}

func TestCheckCounting(t *testing.T) {
	const file = "net/ipv4/vs/run_estimation"
	for value, want := range map[string][]expect{
		"1\n": nil,
		"0\n": {{Warn, "stand still", "sysctl -w net.ipv4.vs.run_estimation=1"}},
	} {
		wantItems(t, CheckCounting(fstest.MapFS{file: {Data: []byte(value)}}), want...)
	}
	wantItems(t, CheckCounting(fstest.MapFS{}))
}
