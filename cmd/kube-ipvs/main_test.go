package main

import (
	"context"
	"os"
	"strings"
	"testing"
)

// asCommand makes the program of these tests be kube-ipvs, for shells that run it.
const asCommand = "KUBE_IPVS_TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		os.Exit(execute(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

func TestUnknownCommandsFail(t *testing.T) {
	for _, args := range [][]string{{"plna"}, {"run", "now"}, {"--nosuch"}} {
		stdout, stderr, code := kubeIPVS(t, "", args...)
		if code != 1 || stdout != "" || !strings.Contains(stderr, args[len(args)-1]) {
			t.Errorf("%v: exit code %d, output %q, error %q", args, code, stdout, stderr)
		}
	}
}

func TestWithoutACommandTheHelpIsShown(t *testing.T) {
	stdout, _, code := kubeIPVS(t, "")
	for _, command := range []string{"run", "plan", "check", "cleanup", "version"} {
		if !strings.Contains(stdout, "\n  "+command) {
			t.Errorf("command %s is not listed in\n%s", command, stdout)
		}
	}
	if code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestVersionIsAFlagToo(t *testing.T) {
	asFlag, _, _ := kubeIPVS(t, "", "--version")
	asCommand, _, _ := kubeIPVS(t, "", "version")
	if asFlag != "kube-ipvs dev\n" || asFlag != asCommand {
		t.Errorf("%q and %q", asFlag, asCommand)
	}
}
