package agent

import (
	"context"
	"errors"
	"fmt"
	"os/exec"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
)

// Run runs a subcommand of the agent on a host and returns what it wrote to both outputs and its exit code. err is
// about a program that could not be run.
func Run(ctx context.Context, host *topo.Host, args ...string) (output string, code int, err error) {
	b, err := host.Command(ctx, binary(), args...).CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.Exited() {
		return string(b), exit.ExitCode(), nil
	}
	if err != nil {
		return string(b), -1, fmt.Errorf("run %s %v on %s: %w", binary(), args, host.Name, err)
	}
	return string(b), 0, nil
}

// Cleanup runs `kube-ipvs cleanup`; --state-dir has to be that of the agent.
func Cleanup(ctx context.Context, host *topo.Host, flags ...string) (output string, code int, err error) {
	return Run(ctx, host, append([]string{"cleanup"}, flags...)...)
}

// Check runs `kube-ipvs check`.
func Check(ctx context.Context, host *topo.Host, flags ...string) (output string, code int, err error) {
	return Run(ctx, host, append([]string{"check"}, flags...)...)
}
