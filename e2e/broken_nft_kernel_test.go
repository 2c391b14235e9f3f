//go:build kernel

package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/agent"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// Of an agent that a brokenNFT was put before: the real nft, and the file with what it refuses.
const (
	envRealNFT = "KUBE_IPVS_TEST_NFT"
	envRefused = "KUBE_IPVS_TEST_NFT_REFUSED"
)

// TestMain is nft, where this program is called so: one that fails if a script has what a file says, and else has the real one do it.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "nft" {
		os.Exit(beNFT(os.Args[1:]))
	}
	os.Exit(m.Run())
}

func beNFT(args []string) int {
	script, err := io.ReadAll(os.Stdin)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if refused, err := os.ReadFile(os.Getenv(envRefused)); err == nil && bytes.Contains(script, refused) {
		fmt.Fprintln(os.Stderr, "Error: Could not process rule: No space left on device")
		return 1
	}
	real := os.Getenv(envRealNFT)
	if !filepath.IsAbs(real) {
		fmt.Fprintf(os.Stderr, "%s is %q\n", envRealNFT, real)
		return 1
	}
	cmd := exec.Command(real, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(script), os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		if exit, exited := errors.AsType[*exec.ExitError](err); exited {
			return exit.ExitCode()
		}
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// brokenNFT is put before the nft of an agent.
type brokenNFT struct{ path, refused string }

func newBrokenNFT(t *testing.T) brokenNFT {
	t.Helper()
	real, err := exec.LookPath("nft")
	must(t, err)
	self, err := os.Executable()
	must(t, err)
	dir := t.TempDir()
	must(t, os.Symlink(self, filepath.Join(dir, "nft")))
	b := brokenNFT{path: dir, refused: filepath.Join(dir, "refused")}
	t.Setenv(envRealNFT, real)
	t.Setenv(envRefused, b.refused)
	return b
}

// refuse makes all runs fail whose script has this text: all if it is empty.
func (b brokenNFT) refuse(t *testing.T, text string) {
	t.Helper()
	must(t, os.WriteFile(b.refused+".new", []byte(text), 0o600))
	must(t, os.Rename(b.refused+".new", b.refused))
}

func (b brokenNFT) mend(t *testing.T) {
	t.Helper()
	must(t, os.Remove(b.refused))
}

// startWith starts an agent with this nft. The test itself goes on with the real one.
func (r *rig) startWith(t *testing.T, b brokenNFT, flags ...string) {
	t.Helper()
	path := os.Getenv("PATH")
	t.Setenv("PATH", b.path+":"+path)
	r.start(t, flags...)
	t.Setenv("PATH", path)
}

// nft fails for what has the port of one Service in it, then for all: others are served, what is served goes on being served, and
// all is well soon after.
func TestAnNFTThatFailsForOneServiceOrForAllHarmsNoOther(t *testing.T) {
	const port = nodePort + 10
	service := func(name string, port int32) agent.Service {
		return agent.Service{Name: name, Ports: []agent.Port{{NodePort: port}}}
	}
	r := newRig(t)
	nft := newBrokenNFT(t)
	r.serve(t, web(), r.both()...)
	r.startWith(t, nft, bothNetworks, oftenAudited)
	c, pod := r.dial(t, at(r.Node1.A4))
	load := r.load(t, at(r.Node1.A6))
	addrs := r.all()
	served := func(port uint16) {
		t.Helper()
		eventually(t, fmt.Sprintf("%d is served and masqueraded", port), func() error {
			state, err := r.rules(t.Context())
			if err != nil {
				return err
			}
			for _, addr := range addrs {
				if k := frontend.NewKey(addr, frontend.TCP, port); state.Rules.Masquerade[k] != filter.MasqueradeAll {
					return fmt.Errorf("%s is not masqueraded", k)
				}
				if _, err := topo.Ask(t.Context(), r.Client, topo.TCP, netip.AddrPortFrom(addr, port)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	unserved := func(port uint16) {
		t.Helper()
		for k, entry := range r.table(t) {
			if k.Port == port && len(entry.Reals) > 0 {
				t.Errorf("%s has real servers, and nothing masquerades it", k)
			}
		}
	}

	failsNoMore := func(before float64) {
		t.Helper()
		if n := r.metric(t, failedPasses) - before; n > 1 { // that which was under way
			t.Errorf("%v passes failed after nft was mended", n)
		}
	}

	nft.refuse(t, fmt.Sprintf(" %d", port))
	r.serve(t, service("refused", port), r.both()...)
	r.awaitFailure(t)
	r.serve(t, service("beside", port+1), r.both()...)
	served(port + 1)
	unserved(port)
	must(t, r.Endpoints(web(), r.both()[:1]))
	eventually(t, "a change of another is in force", func() error { return r.hasReals(t, 1) })
	// All three come to the new address in one pass, which asks for one transaction.
	fresh := netip.MustParseAddr("10.1.0.100")
	must(t, r.appear(r.Node1, fresh))
	addrs = append(addrs, fresh)
	served(nodePort)
	served(port + 1)
	unserved(port)
	nft.mend(t)
	mended := r.metric(t, failedPasses)
	served(port)
	eventually(t, "it is ready", func() error { return r.agent.Ready(t.Context()) })
	failsNoMore(mended)

	nft.refuse(t, "")
	r.serve(t, service("late", port+2), r.both()...)
	r.awaitFailure(t)
	awaitAnswers(t, load)
	unserved(port + 2)
	served(port + 1)
	nft.mend(t)
	mended = r.metric(t, failedPasses)
	served(port + 2)
	eventually(t, "it is ready", func() error { return r.agent.Ready(t.Context()) })
	failsNoMore(mended)
	if got := askOn(t, c); got != pod {
		t.Errorf("the open connection is answered by %s, not %s", got, pod)
	}
	noFailure(t, load)
}

const failedPasses = `kube_ipvs_sync_passes_total{result="failed"}`

// awaitFailure returns when one more pass has failed.
func (r *rig) awaitFailure(t *testing.T) {
	t.Helper()
	until := r.metric(t, failedPasses) + 1
	eventually(t, "a pass fails", func() error {
		if n := r.metric(t, failedPasses); n < until {
			return fmt.Errorf("%v have", n)
		}
		return nil
	})
}
