//go:build kernel

package lab_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab"
)

// These tests promise what every other kernel test relies on.

func TestIPVSIsPresent(t *testing.T) {
	mustRun(t, "", "ipvsadm", "-Ln") // resolves the generic-netlink family, which loads ip_vs on demand
	if _, err := os.Stat("/proc/net/ip_vs"); err != nil {
		t.Fatal(err)
	}
}

func TestEverySchedulerLoadsOnDemand(t *testing.T) {
	for _, s := range strings.Fields("rr wrr lc wlc lblc lblcr dh sh mh sed nq fo ovf") {
		t.Run(s, func(t *testing.T) {
			mustRun(t, "", "ipvsadm", "-A", "-t", "192.0.2.1:80", "-s", s)
			mustRun(t, "", "ipvsadm", "-D", "-t", "192.0.2.1:80")
			modules, err := os.ReadFile("/proc/modules")
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Contains(modules, []byte("\nip_vs_"+s+" ")) && !bytes.HasPrefix(modules, []byte("ip_vs_"+s+" ")) {
				t.Errorf("module ip_vs_%s is not loaded", s)
			}
		})
	}
}

func TestRealServersOfBothFamiliesAreAccepted(t *testing.T) {
	mustRun(t, `-A -t 10.1.0.10:30080 -s rr
-a -t 10.1.0.10:30080 -r 10.244.1.2:8080 -m
-A -u [fd01::10]:30080 -s rr
-a -u [fd01::10]:30080 -r [fd44:1::2]:8080 -m
-A --sctp-service 10.1.0.10:30080 -s rr
`, "ipvsadm", "-R")
	defer mustRun(t, `-D -t 10.1.0.10:30080
-D -u [fd01::10]:30080
-D --sctp-service 10.1.0.10:30080
`, "ipvsadm", "-R")
	if out := mustRun(t, "", "ipvsadm", "-Sn"); strings.Count(out, "\n") != 5 {
		t.Errorf("table:\n%s", out)
	}
}

func TestNftTakesAnInetTableWithMasquerade(t *testing.T) {
	mustRun(t, `table inet lab {
	set tcp4 { type ipv4_addr . inet_service; elements = { 10.1.0.10 . 30080 } }
	set sctp6 { type ipv6_addr . inet_service; }
	chain input { type filter hook input priority 0; ip saddr 10.9.0.0/16 th dport 30080 ct state new counter reject; }
	chain post { type nat hook postrouting priority 100;
		meta l4proto tcp ct original ip daddr . ct original proto-dst @tcp4 counter masquerade fully-random
		meta l4proto sctp ct original ip6 daddr . ct original proto-dst @sctp6 masquerade
	}
	chain local { type route hook output priority -150; fib daddr type local counter; }
}
`, "nft", "-f", "-")
	if out := mustRun(t, "", "nft", "list", "ruleset"); !strings.Contains(out, "masquerade fully-random") {
		t.Errorf("ruleset:\n%s", out)
	}
}

func TestModprobe(t *testing.T) {
	t.Run("loads a module by name", func(t *testing.T) { mustRun(t, "", "modprobe", "dummy") })
	t.Run("accepts a module that is built in", func(t *testing.T) {
		lists, err := filepath.Glob("/lib/modules/*/modules.builtin")
		if err != nil || len(lists) != 1 {
			t.Fatalf("lists of what is built in: %v, %v", lists, err)
		}
		list, err := os.ReadFile(lists[0])
		if err != nil {
			t.Fatal(err)
		}
		first, _, _ := strings.Cut(string(list), "\n") // what is built in differs between kernels
		mustRun(t, "", "modprobe", strings.TrimSuffix(filepath.Base(first), ".ko"))
	})
	t.Run("loads nothing when asked not to", func(t *testing.T) {
		mustRun(t, "", "modprobe", "-n", "macvlan")
		if _, err := os.Stat("/sys/module/macvlan"); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("macvlan is loaded: %v", err)
		}
	})
	t.Run("fails for a module that is missing", func(t *testing.T) {
		out, err := exec.Command("modprobe", "no-such-module").CombinedOutput()
		if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 1 {
			t.Errorf("exit: %v, want code 1", err)
		}
		if want := "modprobe: FATAL: Module no-such-module not found in directory /lib/modules/"; !strings.HasPrefix(string(out), want) {
			t.Errorf("said %q, want %q…", out, want)
		}
	})
	t.Run("fails silently when asked to", func(t *testing.T) {
		out, err := exec.Command("modprobe", "-q", "no-such-module").CombinedOutput()
		if err == nil || len(out) > 0 {
			t.Errorf("error %v, output %q", err, out)
		}
	})
}

func TestClockIsTheHosts(t *testing.T) {
	b, err := os.ReadFile(lab.JobPath)
	if err != nil {
		t.Fatal(err)
	}
	var job lab.Job
	if err := json.Unmarshal(b, &job); err != nil {
		t.Fatal(err)
	}
	if behind := time.Since(job.Time); behind < -2*time.Second || behind > 10*time.Minute {
		t.Errorf("the job began %v ago by this clock", behind)
	}
}

func TestTheOtherWayToRunJobsWorksWhereIPVSIs(t *testing.T) {
	if err := lab.CheckHost(); err != nil {
		t.Fatal(err)
	}
	o := &recorder{output: map[int]string{}, exit: map[int]int{}}
	h := &lab.Host{Out: t.TempDir()}
	steps := []lab.Step{
		{Name: "add", Args: []string{"ipvsadm", "-A", "-t", "192.0.2.1:80", "-s", "rr"}},
		{Name: "list", Args: []string{"ipvsadm", "-Sn"}}, // in a namespace of its own: empty
		{Name: "fail", Args: []string{"modprobe", "no-such-module"}},
		{Name: "absent", Args: []string{"no-such-program"}},
	}
	report, err := h.Run(t.Context(), lab.Job{Steps: steps}, o)
	if err != nil {
		t.Fatal(err)
	}
	if report.Boot.Kernel == "" {
		t.Error("the report names no kernel")
	}
	if want := map[int]int{0: 0, 1: 0, 2: 1, 3: 127}; !maps.Equal(o.exit, want) {
		t.Errorf("exit codes %v, want %v", o.exit, want)
	}
	if o.output[1] != "" || !strings.Contains(o.output[2], "not found") {
		t.Errorf("output %v", o.output)
	}
}

// recorder is a lab.Observer.
type recorder struct {
	output map[int]string
	exit   map[int]int
}

func (r *recorder) Started(int)                                { /* nothing to remember */ }
func (r *recorder) Output(step int, _ lab.Stream, data []byte) { r.output[step] += string(data) }
func (r *recorder) Exited(e lab.Exit)                          { r.exit[e.Step] = e.Code }

func TestEachPackageHasANamespaceOfItsOwnWithLoUp(t *testing.T) {
	links, err := filepath.Glob("/proc/sys/net/ipv4/conf/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		switch filepath.Base(l) {
		case "all", "default", "lo":
		default:
			t.Errorf("there is a device %s", filepath.Base(l))
		}
	}
	if self, init := mustLink(t, "/proc/self/ns/net"), mustLink(t, "/proc/1/ns/net"); self == init {
		t.Error("this is the namespace of pid 1")
	}
	if b, err := os.ReadFile("/proc/net/if_inet6"); err != nil || !bytes.Contains(b, []byte(" lo\n")) {
		t.Errorf("lo is not up: %v %q", err, b)
	}
}

func TestFilesLeftInOutArrive(t *testing.T) {
	if err := os.WriteFile(filepath.Join(os.Getenv(lab.EnvOut), "hello.txt"), []byte("from the guest\n"), 0o644); err != nil {
		t.Fatal(err)
	}
}

func mustLink(t *testing.T, p string) string {
	t.Helper()
	s, err := os.Readlink(p)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// mustRun runs a command with an input and returns its output.
func mustRun(t *testing.T, stdin, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}
