package host

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"golang.org/x/sys/unix"
)

// Any program may be called kube-proxy, and have any command line: check runs as root, and the agent looks at who listens.
func TestNoCommandLineIsReadWithoutEnd(t *testing.T) {
	long := strings.Repeat("a", 5<<20)
	for name, c := range map[string]struct {
		command string
		args    int
	}{
		"a long name":      {long, 0},
		"a long argument":  {"kube-proxy\x00-v\x00--config=" + long, 1},
		"many arguments":   {"kube-proxy" + strings.Repeat("\x00-v", 1<<20), mostCommandLine/3 - len("kube-proxy")/3 - 1},
		"one to the bound": {"kube-proxy\x00-v\x00" + long[:mostCommandLine-15], 2},
	} {
		p := readProcess(fstest.MapFS{"7/cmdline": {Data: []byte(c.command)}}, 7)
		size := len(p.Name)
		for _, a := range p.Args {
			size += 1 + len(a)
		}
		if size > mostCommandLine || size == 0 || len(p.Args) != c.args {
			t.Errorf("%s: a name of %d bytes and %d arguments are read, want %d: %d bytes", name, len(p.Name), len(p.Args), c.args, size)
		}
	}
}

func TestAConfigurationThatIsNoPlainFileIsNotRead(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "7", "root")
	if err := os.MkdirAll(filepath.Join(dir, "directory"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, size := range map[string]int64{"large": mostConfig + 1, "small": mostConfig} {
		if err := os.WriteFile(filepath.Join(dir, name), make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, readable := range map[string]bool{"/pipe": false, "/directory": false, "/large": false, "/small": true, "/none": false} {
		read := make(chan error, 1)
		go func() {
			_, err := Process{PID: 7}.readFile(os.DirFS(root), name)
			read <- err
		}()
		select {
		case err := <-read:
			if (err == nil) != readable {
				t.Errorf("%s: %v", name, err)
			}
		case <-time.After(10 * time.Second):
			t.Errorf("%s: somebody who will not write is waited for", name)
		}
	}
}

func TestWhatAProgramSaysOfItselfIsShortInAMessage(t *testing.T) {
	long := strings.Repeat("10.0.0.0/8,", 2500)
	for _, command := range []string{
		"kube-proxy --proxy-mode=" + long, "kube-proxy --proxy-mode=ipvs --ipvs-exclude-cidrs=" + long, "kube-proxy --nodeport-addresses=" + long, "kube-proxy --config=/" + long, "kube-proxy --config=" + long,
	} {
		for _, i := range CheckProxies(t.Context(), noRules, fakeProc(command), nil, servingBoth()) {
			if len(i.Detail) > 1000 || len(i.Mend) > 1000 {
				t.Errorf("%.40s: %d bytes of detail, %d of mend", command, len(i.Detail), len(i.Mend))
			}
		}
	}
}
