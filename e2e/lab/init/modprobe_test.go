package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab"
)

func TestModprobe(t *testing.T) {
	dir := t.TempDir()
	dep := "kernel/ip_vs.ko: kernel/nf_conntrack.ko\nkernel/nf_conntrack.ko:\nkernel/broken.ko:\n"
	if err := os.WriteFile(filepath.Join(dir, "modules.dep"), []byte(dep), 0o644); err != nil {
		t.Fatal(err)
	}
	index, err := lab.LoadModuleIndex(dir)
	if err != nil {
		t.Fatal(err)
	}
	for args, want := range map[string]struct {
		code   int
		loaded string
		said   string
	}{
		"ip_vs":               {0, "nf_conntrack ip_vs", ""},
		"-q -- ip_vs":         {0, "nf_conntrack ip_vs", ""},
		"-n ip_vs":            {0, "", ""},
		"-a nf_conntrack":     {0, "nf_conntrack", ""},
		"none":                {1, "", "modprobe: FATAL: Module none not found in directory " + dir},
		"-n none":             {1, "", "modprobe: FATAL: Module none not found in directory " + dir},
		"-q none":             {1, "", ""},
		"none nf_conntrack":   {1, "nf_conntrack", "modprobe: FATAL: Module none"},
		"broken":              {1, "", "modprobe: ERROR: could not insert 'broken': load kernel/broken.ko: bad"},
		"--no-such-thing abc": {1, "", "modprobe: FATAL: option --no-such-thing"},
	} {
		t.Run(args, func(t *testing.T) {
			var loaded []string
			l := &loader{dir: dir, index: index, insert: func(file string) error {
				name := strings.TrimSuffix(filepath.Base(file), ".ko")
				if name == "broken" {
					return errors.New("bad")
				}
				loaded = append(loaded, name)
				return nil
			}}
			var said bytes.Buffer
			code := modprobe(strings.Fields(args), l, &said)
			if got := strings.Join(loaded, " "); code != want.code || got != want.loaded {
				t.Errorf("code %d, loaded %q; want %d, %q", code, got, want.code, want.loaded)
			}
			if (want.said == "") != (said.Len() == 0) || !strings.HasPrefix(said.String(), want.said) {
				t.Errorf("said %q, want %q", &said, want.said)
			}
		})
	}
}

func TestConnectionTrackingHasRoom(t *testing.T) {
	for file, want := range map[string]string{
		"/lib/modules/6.1/kernel/net/netfilter/nf_conntrack.ko":         "hashsize=16384",
		"/lib/modules/6.12/kernel/net/netfilter/nf_conntrack.ko.xz":     "hashsize=16384",
		"/lib/modules/6.1/kernel/net/netfilter/nf_conntrack_netlink.ko": "",
		"/lib/modules/6.1/kernel/net/netfilter/ipvs/ip_vs.ko":           "",
	} {
		if got := parameters(file); got != want {
			t.Errorf("%s gets %q, want %q", file, got, want)
		}
	}
}
