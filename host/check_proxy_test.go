package host

import (
	"context"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

const (
	ourNamespace   = "net:[4026531840]"
	otherNamespace = "net:[4026532000]"
)

// fakeProc is a /proc with these command lines, numbered from 100 on, in our network namespace.
func fakeProc(commands ...string) fstest.MapFS {
	proc := fstest.MapFS{
		"self/ns/net": {Data: []byte(ourNamespace), Mode: fs.ModeSymlink},
		"self/ns/pid": {Data: []byte("pid:[4026531836]"), Mode: fs.ModeSymlink},
		"uptime":      {Data: []byte("1 1")},
		"2/cmdline":   {}, // a thread of the kernel
	}
	for i, c := range commands {
		addProcess(proc, 100+i, c, ourNamespace)
	}
	return proc
}

// noRules is nft of a node without kube-proxy's rules.
func noRules(_ context.Context, name string, args ...string) (string, error) {
	return "", fmt.Errorf("%s %s: No such file or directory", name, strings.Join(args, " "))
}

func addProcess(proc fstest.MapFS, pid int, command, namespace string) {
	dir := strconv.Itoa(pid)
	proc[dir+"/cmdline"] = &fstest.MapFile{Data: []byte(strings.ReplaceAll(command, " ", "\x00") + "\x00")}
	proc[dir+"/ns/net"] = &fstest.MapFile{Data: []byte(namespace), Mode: fs.ModeSymlink}
}

func TestProcesses(t *testing.T) {
	proc := fakeProc("/usr/local/bin/kube-proxy --proxy-mode=ipvs -v 2", "/usr/sbin/keepalived -n", "bash kube-proxy")
	addProcess(proc, 90, "kube-proxy --in=another --namespace", otherNamespace)
	addProcess(proc, 110, "kube-proxy --namespace=unseen", "")
	delete(proc, "110/ns/net")
	got, err := Processes(proc, "kube-proxy", "keepalived")
	if err != nil {
		t.Fatal(err)
	}
	want := []Process{
		{PID: 100, Name: "kube-proxy", Args: []string{"--proxy-mode=ipvs", "-v", "2"}},
		{PID: 101, Name: "keepalived", Args: []string{"-n"}},
		{PID: 110, Name: "kube-proxy", Args: []string{"--namespace=unseen"}}, // better a warning too many
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestProcessesOfThisMachine(t *testing.T) {
	proc := os.DirFS("/proc")
	got, err := Processes(proc, filepath.Base(os.Args[0]))
	if err != nil {
		t.Fatal(err)
	}
	self := func(p Process) bool { return p.PID == os.Getpid() }
	at := slices.IndexFunc(got, self)
	if at < 0 {
		t.Fatalf("this test is not among %v", got)
	}
	text, err := got[at].readFile(proc, "/etc/passwd")
	if err != nil || len(text) == 0 {
		t.Errorf("a file of a process: %v", err)
	}
	if _, err := fs.ReadLink(proc, "self/ns/net"); err != nil {
		t.Error(err)
	}
}

func TestFlagOfAProcess(t *testing.T) {
	p := Process{Args: strings.Fields("--a=1 --b 2 -c --d --a=3 e=4 --empty=")}
	for name, want := range map[string]string{"a": "3", "b": "2", "c": "true", "d": "true", "e": "", "empty": ""} {
		if got, found := p.flag(name); got != want || found != (name != "e") {
			t.Errorf("%s: got %q, %v", name, got, found)
		}
	}
}

func TestCheckProxies(t *testing.T) {
	const spared = "--nodeport-addresses=127.0.0.0/8,::1/128"
	config := func(text string) fstest.MapFS {
		proc := fakeProc("kube-proxy --config=/var/lib/kube-proxy/config.conf --hostname-override=n1")
		proc["100/root/var/lib/kube-proxy/config.conf"] = &fstest.MapFile{Data: []byte(text)}
		return proc
	}
	for _, tc := range []struct {
		name  string
		proc  fstest.MapFS
		links []string
		want  []expect
	}{
		{"nobody else", fakeProc("sshd"), []string{"lo", "eth0"}, []expect{{OK, "none seen", ""}}},
		{"kube-proxy that leaves node ports to us", fakeProc("kube-proxy " + spared), nil, []expect{{OK, "mode iptables", ""}}},
		{
			"kube-proxy with its defaults", fakeProc("kube-proxy"), nil,
			[]expect{{Warn, "answers on node ports of 10.1.0.10, fd01::10", spared}},
		},
		{
			"kube-proxy that names one family only opens all of the other", fakeProc("kube-proxy --nodeport-addresses 127.0.0.0/8"), nil,
			[]expect{{Warn, "answers on node ports of fd01::10 as", spared}},
		},
		{
			"kube-proxy on other addresses of both families", fakeProc("kube-proxy --nodeport-addresses=10.2.0.0/16,fd02::/16"), nil,
			[]expect{{OK, "10.2.0.0/16", ""}},
		},
		{"kube-proxy on primary addresses", fakeProc("kube-proxy --nodeport-addresses=primary"), nil, []expect{{Warn, "10.1.0.10", spared}}},
		{"kube-proxy on localhost", fakeProc("kube-proxy --nodeport-addresses=localhost"), nil, []expect{{OK, "localhost", ""}}},
		{
			"IPVS mode deletes ours", fakeProc("kube-proxy --proxy-mode=ipvs " + spared),
			[]string{"kube-ipvs0"},
			[]expect{{Fail, "deletes our virtual servers on 10.1.0.10, fd01::10", "--ipvs-exclude-cidrs=10.1.0.10/32,fd01::10/128"}},
		},
		{
			"IPVS mode that spares ours", fakeProc("kube-proxy --proxy-mode=ipvs --ipvs-exclude-cidrs=10.1.0.0/24,fd01::/64 " + spared),
			[]string{"kube-ipvs0"},
			[]expect{{OK, "mode ipvs", ""}},
		},
		{
			"IPVS mode that spares one family", fakeProc("kube-proxy --proxy-mode=ipvs --ipvs-exclude-cidrs=10.1.0.0/24 " + spared), nil,
			[]expect{{Fail, "on fd01::10", "--ipvs-exclude-cidrs"}},
		},
		{
			"IPVS mode in a configuration file",
			config("kind: KubeProxyConfiguration\nmode: ipvs\nnodePortAddresses: [127.0.0.0/8, '::1/128']\nipvs:\n  excludeCIDRs: null\n"),
			nil,
			[]expect{{Fail, "mode ipvs", "ipvs.excludeCIDRs"}},
		},
		{
			"an empty mode in a configuration file is iptables",
			config("mode: \"\"\nnodePortAddresses: [127.0.0.0/8, '::1/128']\n"),
			nil,
			[]expect{{OK, "mode iptables", ""}},
		},
		{"a broken configuration file", config("mode: [\n"), nil, []expect{{Warn, "config.conf", "nodePortAddresses: [127.0.0.0/8 ::1/128]"}}},
		{"an unreadable configuration file", fakeProc("kube-proxy --config /none"), nil, []expect{{Warn, "/none cannot be read", "ipvs.excludeCIDRs"}}},
		{"kube-router", fakeProc("kube-router --run-router=true"), []string{"kube-dummy-if"}, []expect{{Fail, "deletes every", "--run-service-proxy=false"}}},
		{"kube-router without its proxy", fakeProc("kube-router --run-service-proxy=false"), nil, []expect{{OK, "false", ""}}},
		{"keepalived", fakeProc("keepalived -n"), nil, []expect{{OK, "lvs_flush", ""}}},
		{
			"interfaces that were left behind", fakeProc(),
			[]string{"kube-ipvs0", "kube-dummy-if"},
			[]expect{{Warn, "kube-proxy does not run here", "kube-proxy --cleanup"}, {Warn, "kube-router", "--cleanup-config"}},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			serving := []netip.Addr{netip.MustParseAddr("10.1.0.10"), netip.MustParseAddr("fd01::10")}
			wantItems(t, CheckProxies(t.Context(), noRules, tc.proc, tc.links, serving), tc.want...)
		})
	}
}
