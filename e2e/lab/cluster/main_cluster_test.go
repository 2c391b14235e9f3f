//go:build cluster

package cluster

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab"
)

// envChild makes this program one that runs a control plane until it is ended.
const envChild = "KUBE_IPVS_CLUSTER_TEST_CHILD"

func TestMain(m *testing.M) {
	part := runChild
	switch {
	case os.Getenv(lab.EnvLab) != "":
		part = inGuest
	case os.Getenv(envChild) == "":
		os.Exit(m.Run())
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := part(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		stop()
		os.Exit(1)
	}
}

// runChild says where its state and what its processes are, in one line.
func runChild(ctx context.Context) error {
	b, err := NewBuilder(os.Stderr)
	if err != nil {
		return err
	}
	programs, err := b.Build(ctx)
	if err != nil {
		return err
	}
	c, err := Start(ctx, Options{Binaries: programs})
	if err != nil {
		return err
	}
	fmt.Println(c.files.dir, c.etcd.pid(), c.api.pid(), c.controllers.pid())
	<-ctx.Done()
	return c.Close()
}

// start starts a control plane that goes with the test, also where that is interrupted.
func start(t *testing.T, o Options) *ControlPlane {
	t.Helper()
	ctx, stop := signal.NotifyContext(t.Context(), os.Interrupt, syscall.SIGTERM)
	t.Cleanup(stop)
	b, err := NewBuilder(os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	if o.Binaries, err = b.Build(ctx); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	c, err := Start(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the control plane took %v", time.Since(began).Round(10*time.Millisecond))
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(c.LogTail(20))
		}
		began := time.Now()
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		t.Logf("its end took %v", time.Since(began).Round(time.Millisecond))
		if _, err := os.Stat(c.files.dir); !os.IsNotExist(err) {
			t.Errorf("left: %s: %v", c.files.dir, err)
		}
	})
	return c
}

func client(t *testing.T, config *rest.Config) *kubernetes.Clientset {
	t.Helper()
	k, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// runs tells whether a process is there and no zombie.
func runs(pid string) bool {
	_, err := os.Readlink("/proc/" + pid + "/exe")
	return err == nil
}

func TestWhateverEndsTheParentNoProcessIsLeft(t *testing.T) {
	for _, c := range []struct {
		signal syscall.Signal
		files  bool // whether its state is left, until the next start
	}{{syscall.SIGKILL, true}, {syscall.SIGTERM, false}} {
		t.Run(c.signal.String(), func(t *testing.T) {
			dir, pids := endChild(t, c.signal)
			for _, pid := range pids {
				eventually(t, "the end of process "+pid, func() bool { return !runs(pid) })
			}
			if _, err := os.Stat(dir); os.IsNotExist(err) == c.files {
				t.Errorf("its state: %v", err)
			}
			d, err := lab.NewTempDir("", statePrefix)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = d.Remove() }()
			if _, err := os.Stat(dir); !os.IsNotExist(err) {
				t.Errorf("its state after the next start: %v", err)
			}
		})
	}
}

// endChild starts a control plane in a child, ends that by a signal and returns what it had.
func endChild(t *testing.T, s syscall.Signal) (dir string, pids []string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), envChild+"=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 1000)
	n, err := out.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(buf[:n]))
	if len(fields) != 4 {
		t.Fatalf("the child said %q", buf[:n])
	}
	for _, pid := range fields[1:] {
		if !runs(pid) {
			t.Errorf("process %s does not run", pid)
		}
	}
	if err := cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // its end is what was asked for
	return fields[0], fields[1:]
}

// rss returns the resident memory of a component, in MiB.
func rss(t *testing.T, c *component) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.pid()))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(b), "VmRSS:")
	kib, err := strconv.Atoi(strings.Fields(after)[0])
	if err != nil {
		t.Fatal(err)
	}
	return kib / 1024
}
