package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"os/exec"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/host"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

// lacking says what the node lacks, and what brings it, where that may come while the agent waits; empty for all other errors,
// which end it: more privileges, and other flags, take another process. It is the one place that decides what is waited for.
func lacking(err error) string {
	for _, final := range []error{unix.EPERM, unix.EACCES, unix.EROFS, unix.EAFNOSUPPORT} {
		if errors.Is(err, final) {
			return ""
		}
	}
	var scheduler missingScheduler
	switch {
	case errors.Is(err, ipvs.ErrNoIPVS):
		return "this kernel has no IPVS: modprobe ip_vs on the node"
	case errors.As(err, &scheduler):
		return scheduler.Error()
	case errors.Is(err, host.ErrNoSysctl): // the module has them from the moment it is loaded
		first, _, _ := strings.Cut(err.Error(), "\n")
		return "IPVS of this kernel is without a setting that serving needs, load a module ip_vs that was built with CONFIG_IP_VS_NFCT: " + first
	case errors.Is(err, filter.ErrNoNFTables):
		return "this kernel has no nftables: modprobe nf_tables on the node"
	case errors.Is(err, exec.ErrNotFound):
		return "there is no program nft: install package nftables on the node"
	}
	return ""
}

// missingScheduler is the name of a scheduler without which nothing can be served.
type missingScheduler string

func (s missingScheduler) Error() string {
	return fmt.Sprintf("--ipvs-scheduler: this kernel has no scheduler %q: modprobe ip_vs_%s on the node, or choose another (kube-ipvs check lists them)",
		string(s), string(s))
}

// await tries until that succeeds, after one second and then less and less often, every ten seconds in the end. It returns the error
// of a try that mends itself by nothing that may come, and that of ctx with what is awaited when it ends. tell hears what the node
// lacks whenever that changes; the log has a line then, one for the beginning and one for the end.
func await(ctx context.Context, log logr.Logger, tell func(lacks string), try func(context.Context) error) error {
	pause := wait.Backoff{Duration: time.Second, Factor: 2, Cap: 10 * time.Second, Steps: math.MaxInt32, Jitter: 0.1}
	begin, before := time.Now(), ""
	for {
		err := try(ctx)
		lacks := lacking(err)
		switch {
		case err == nil && before != "":
			log.Info("The node has what serving needs", "waited", time.Since(begin).Round(time.Second))
			return nil
		case err == nil || lacks == "" && ctx.Err() == nil:
			return err
		case lacks != "" && before == "":
			log.Info("Waiting until the node has what serving needs", "reason", lacks, "error", err.Error())
		case lacks != "" && lacks != before:
			log.Info("The node lacks something else", "reason", lacks, "error", err.Error())
		}
		if lacks != "" && lacks != before {
			before = lacks
			tell(lacks)
		}
		timer := time.NewTimer(pause.Step())
		select {
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("%w before the node had what serving needs: %s", ctx.Err(), cmp.Or(before, "it was not known yet"))
		case <-timer.C:
		}
	}
}
