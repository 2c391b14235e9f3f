package host

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
)

// FuzzProcesses takes command lines of any content: programs choose their own.
func FuzzProcesses(f *testing.F) {
	f.Add("/usr/bin/kube-proxy\x00--nodeport-addresses=10.0.0.0/8, ::1/128\x00", "socket:[4026]")
	f.Add("kube-proxy\x00--nodeport-addresses\x0010.0.0.0/8\x00-v\x00", "socket:[]")
	f.Add("kube-proxy\x00--=\x00--\x00-\x00", "socket:[99999999999]")
	f.Add("\x00\x00", "/dev/null")
	f.Fuzz(func(t *testing.T, command, target string) {
		p := readProcess(fstest.MapFS{"7/cmdline": {Data: []byte(command)}}, 7)
		if p.PID != 7 || len(p.Name) > max(1, len(command)) || strings.Contains(p.Name, "/") && p.Name != "/" || len(p.Args) > strings.Count(command, "\x00") {
			t.Errorf("%q is read as %+v", command, p)
		}
		for _, element := range p.list("nodeport-addresses") {
			if element == "" || strings.ContainsAny(element, ", ") || !strings.Contains(command, element) && element != "true" {
				t.Errorf("%q has the element %q", command, element)
			}
		}
		if inode, is := socketInode(target); is && !strings.HasPrefix(target, "socket:[") || !is && inode != 0 && inode != 1<<32-1 {
			t.Errorf("%q is socket %d, %v", target, inode, is)
		}
	})
}

// FuzzProxyRules takes whatever nft lists of kube-proxy: what cannot be read counts as an overlap, never as none.
func FuzzProxyRules(f *testing.F) {
	f.Add(`{"nftables": [{"set": {"name": "nodeport-ips", "elem": ["10.1.0.10", {"prefix": 1}, null]}}]}`)
	f.Add(`{"nftables": [{"rule": {"family": "ip", "table": "nat", "chain": "KUBE-SERVICES", "expr": [{"jump": {"target": "KUBE-NODEPORTS"}}]}}]}`)
	f.Add(`{"nftables": [{"set": null}, {"rule": {"expr": [{"match": {"op": "==", "right": "x"}}, {"jump": null}]}}]}`)
	f.Add("not JSON")
	f.Fuzz(func(t *testing.T, text string) {
		n := nftablesRules("ip", text)
		if !json.Valid([]byte(text)) && (!n.all || !n.serves(netip.MustParseAddr("10.1.0.10"))) {
			t.Errorf("%q cannot be read, and nothing is warned of", text)
		}
		for _, a := range n.addresses {
			if !a.IsValid() {
				t.Errorf("%q has the address %v", text, a)
			}
		}
		if i := iptablesRules("ip6", text); !json.Valid([]byte(text)) && !i.all || i.serves(netip.MustParseAddr("10.1.0.10")) {
			t.Errorf("%q: %+v", text, i)
		}
	})
}

// FuzzRecords takes any state file: it is refused by its name, or means values that the file has.
func FuzzRecords(f *testing.F) {
	f.Add(`{"bootID": "this", "values": {"net.ipv4.vs.conntrack": {"before": "0", "set": "1"}}}`)
	f.Add(`{"bootID": "this", "ours": "30000-32767", "pending": ""}`)
	f.Add(`{"bootID": "this", "ours": "0-65536"}`)
	f.Add(`{"bootID": "other", "values": {"../../etc/passwd": {"before": "x"}}}`)
	f.Add(`{"bootID": "", "values": null}{`)
	f.Add("\x00")
	root, state := f.TempDir(), f.TempDir()
	file := filepath.Join(root, sysctlFile(bootID))
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		f.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("this\n"), 0o600); err != nil {
		f.Fatal(err)
	}
	s, r := Sysctls{Root: root, StateDir: state}, ReservedPorts{Root: root, StateDir: state}
	f.Fuzz(func(t *testing.T, text string) {
		for _, path := range []string{s.recordPath(), r.recordPath()} {
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		values, err := s.load()
		if err != nil && !strings.Contains(err.Error(), s.recordPath()) {
			t.Errorf("an error that names no file: %v", err)
		}
		if err == nil && (values.BootID != "this" || values.Values == nil) {
			t.Errorf("%q is read as %+v", text, values)
		}
		ports, err := r.load()
		if err != nil && !strings.Contains(err.Error(), r.recordPath()) {
			t.Errorf("an error that names no file: %v", err)
		}
		if err == nil && ports.BootID != "this" {
			t.Errorf("%q is read as a record of boot %q", text, ports.BootID)
		}
	})
}
