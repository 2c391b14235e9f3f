package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

// configured is the options of run after command line and file.
func configured(t *testing.T, file string, args ...string) (*options, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	o := &options{}
	flags := pflag.NewFlagSet("run", pflag.ContinueOnError)
	for _, g := range runGroups(o) {
		flags.AddFlagSet(g.flags)
	}
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	return o, loadConfig(path, flags)
}

func TestConfigFileSetsFlagsAndTheCommandLineWins(t *testing.T) {
	o, err := configured(t, `
nodeport-addresses: [10.1.0.0/16, "iface:dmz*"]
ipvs-scheduler: mh
ipvs-sync-period: 1m
network: ["dmz=iface:eth1,10.9.0.0/16", internal=10.1.0.0/16]
extra-port-range: [80, 8000-8099]
drain-timeout: 10s
v: 2
`, "--drain-timeout", "20s")
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"10.1.0.0/16", "iface:dmz*"}; !slices.Equal(o.nodePortAddresses, want) {
		t.Errorf("addresses %q, want %q", o.nodePortAddresses, want)
	}
	if want := []string{"dmz=iface:eth1,10.9.0.0/16", "internal=10.1.0.0/16"}; !slices.Equal(o.networks, want) {
		t.Errorf("networks %q, want %q", o.networks, want)
	}
	if want := []string{"80", "8000-8099"}; !slices.Equal(o.extraPorts, want) {
		t.Errorf("extra ports %q, want %q", o.extraPorts, want)
	}
	if o.scheduler != "mh" || o.syncPeriod != time.Minute || o.drainTimeout != 20*time.Second || o.logging.verbosity != 2 {
		t.Errorf("have %+v", o)
	}
}

func TestConfigFileNamesEverythingThatIsWrong(t *testing.T) {
	_, err := configured(t, "ipvs-schedular: rr\nv: loud\ndrain-timeout: {seconds: 3}\nconfig: other.yaml\n")
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"ipvs-schedular: there is no such flag", "v: ", "drain-timeout: ", "config: there is no such flag"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in\n%v", want, err)
		}
	}
}

func TestEveryFlagCanStandInTheConfigFile(t *testing.T) {
	var file strings.Builder
	flags := 0
	for _, g := range runGroups(&options{}) {
		g.flags.VisitAll(func(f *pflag.Flag) {
			if f.Name == "config" {
				return
			}
			flags++
			value := strings.Trim(f.DefValue, "[]")
			file.WriteString(f.Name + ": \"" + value + "\"\n")
		})
	}
	if flags < 15 {
		t.Errorf("only %d flags were looked at", flags)
	}
	if _, err := configured(t, file.String()); err != nil {
		t.Error(err)
	}
}

func TestValidationJoinsAllErrors(t *testing.T) {
	o := &options{
		nodePortAddresses: []string{"localhost"}, scheduler: "fastest", allowedSchedulers: []string{"a b"},
		kubeconfig: "a", manifests: "b", syncPeriod: time.Millisecond, drainTimeout: -1, healthz: "here", metrics: "there:1:2",
	}
	o.timeouts.UDP = 1500 * time.Millisecond
	err := o.validate()
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		"localhost", `unknown scheduler "fastest"`, `"a b" cannot be the name`, "choose one of the two sources", "--ipvs-sync-period",
		"--drain-timeout", "--healthz-bind-address", "--metrics-bind-address", "--ipvs-udp-timeout: 1.5s is not a whole number of seconds",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in\n%v", want, err)
		}
	}
}

func TestHelpListsEveryFlagInAGroup(t *testing.T) {
	for _, command := range []string{"run", "plan", "check", "cleanup"} {
		stdout, _, code := kubeIPVS(t, "", command, "--help")
		if code != 0 {
			t.Errorf("%s --help: exit code %d", command, code)
		}
		cmd, _, err := newRoot().Find([]string{command})
		if err != nil {
			t.Fatal(err)
		}
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Name != "help" && !strings.Contains(stdout, "--"+f.Name) {
				t.Errorf("%s --help does not list --%s", command, f.Name)
			}
		})
	}
}

func TestOneConfigFileServesAllCommands(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte("drain-timeout: 1s\nipvs-scheduler: wlc\nv: 4\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	manifests, err := os.ReadFile("testdata/plan/legal.yaml")
	if err != nil {
		t.Fatal(err)
	}
	stdout, stderr, code := kubeIPVS(t, string(manifests), "plan", "--manifests", "-", "--node-name", "node1", "-o", "ipvsadm", "--config", path)
	if code != 0 || !strings.Contains(stdout, "-s wlc") {
		t.Errorf("exit code %d, output %q, error %q", code, stdout, stderr)
	}
}

func TestConfigFileThatIsNoMappingSaysWhatOneIs(t *testing.T) {
	for _, file := range []string{"- a\n- b\n", "just text", "v:\n"} {
		_, err := configured(t, file)
		if err == nil || !strings.Contains(err.Error(), "--config") || strings.Contains(err.Error(), "<nil>") {
			t.Errorf("%q: %v", file, err)
		}
	}
}

func TestOneAnswerNamesWhatIsWrongInTheFileAndOnTheCommandLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte("ipvs-schedular: rr\nport-conflict: drop\nadopt: perhaps\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	manifests := []string{"--manifests", os.DevNull, "--node-name", "node1"}
	for command, own := range map[string]struct{ args, wants []string }{
		"run":   {[]string{"--drain-timeout=-1s", "--logging-format=xml"}, []string{"--drain-timeout: -1s", "--logging-format: ", "adopt: "}},
		"check": {[]string{"--drain-timeout=-1s", "--vmodule=x"}, []string{"--drain-timeout: -1s", "--vmodule: ", "adopt: "}},
		"plan":  {append(manifests, "-o", "xml"), []string{`-o "xml"`}},
		"ports": {append(manifests, "-o", "xml", "--suggest=-1"), []string{`-o "xml"`, "--suggest: -1"}},
	} {
		args := append([]string{command, "--config", path, "--nodeport-addresses=localhost"}, own.args...)
		stdout, stderr, code := kubeIPVS(t, "", args...)
		if code != 1 || stdout != "" {
			t.Errorf("%s: exit code %d, output %q", command, code, stdout)
		}
		for _, want := range append(own.wants, "ipvs-schedular: there is no such flag", `--port-conflict: "drop"`, "--nodeport-addresses: ") {
			if !strings.Contains(stderr, want) {
				t.Errorf("%s: %q is not in\n%s", command, want, stderr)
			}
		}
	}
}

func TestASecondDocumentOfAConfigFileIsNotPassedOver(t *testing.T) {
	for text, want := range map[string]bool{
		"ipvs-scheduler: lc\n":                                  true,
		"---\nipvs-scheduler: lc\n":                             true,
		"---\n# a comment\n---\nipvs-scheduler: lc\n":           true,
		"ipvs-scheduler: lc\n---\nipvs-sync-period: 1m\n":       false,
		"ipvs-scheduler: lc\n--- \n\"metrics-bind-address\":\n": false,
	} {
		_, err := configured(t, text)
		if said := err == nil || !strings.Contains(err.Error(), "2 YAML documents"); said != want {
			t.Errorf("%q: %v", text, err)
		}
	}
}
