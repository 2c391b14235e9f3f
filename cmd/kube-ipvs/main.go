// Command kube-ipvs serves the node ports of Kubernetes Services on one node through IPVS.
//
// This package only wires: flags to options, options to the packages that do the work. Each subcommand is a file.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/kube-ipvs/kube-ipvs/sync"
)

// version is set by the linker (-X main.version=...).
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code := execute(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// exit is an error that has been told already and carries the exit code.
type exit int

func (e exit) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// execute runs one command line and returns its exit code.
func execute(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	var code exit
	switch {
	case err == nil:
		return 0
	case errors.As(err, &code):
		return int(code)
	}
	for line := range strings.SplitSeq(err.Error(), "\n") {
		fmt.Fprintln(stderr, "kube-ipvs:", sync.Printable(line)) // it may quote what others wrote
	}
	return 1
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "kube-ipvs",
		Short: "NodePort Services through IPVS, on the node addresses you choose",
		Long: `kube-ipvs makes each NodePort Service of a Kubernetes cluster a set of IPVS virtual
servers on the node addresses that you choose, with the scheduler that the Service chooses.`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       version,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("unknown command %q: see kube-ipvs --help", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetVersionTemplate("kube-ipvs {{.Version}}\n")
	root.CompletionOptions.DisableDefaultCmd = true // ours has the shells that are tested
	root.AddCommand(newRun(), newStatus(), newExplain(), newDiff(), newTop(), newPorts(), newPlan(), newCheck(), newCleanup(), newLogLevel(), newCompletion(), newVersion())
	return root
}

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		Run: func(cmd *cobra.Command, _ []string) {
			fmt.Fprintln(cmd.OutOrStdout(), "kube-ipvs", version)
		},
	}
}
