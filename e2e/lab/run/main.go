// Command run runs tests and programs on a real kernel with IPVS: in a guest with Debian's kernel, or, for tests, in
// the machine's own. See package lab.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab"
)

const usage = `usage:
  run prepare [-update]
        install the tools and fetch the kernel; nothing to do when that is done
  run test [-v] [-run RE] [-bench RE] [-host] [-mem 1G] [-timeout 5m] [-bin PKG]... [-file SRC=DEST]... [-out DIR] PKG...
        run the kernel tests of packages as root; a skipped test, and a package of which no test ran, are failures
  run exec [-mem 1G] [-timeout 5m] [-bin PKG]... [-file SRC=DEST]... [-out DIR] -- CMD ARGS...
        run a command in a guest as root, with its output and exit code
Each command explains its flags with -h. KERNEL_SERIES=6.12 in the environment takes a kernel from Debian's backports.
`

// Exit codes beside those of the commands that exec runs.
const (
	exitFailed = 1
	exitUsage  = 2
	exitGuest  = 125 // the lab itself failed: no guest, or it died
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	code := run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string) int {
	if len(args) == 0 {
		fmt.Fprint(os.Stderr, usage)
		return exitUsage
	}
	switch args[0] {
	case "prepare":
		return runPrepare(ctx, args[1:])
	case "test":
		return runTest(ctx, args[1:])
	case "exec":
		return runExec(ctx, args[1:])
	case "-h", "-help", "--help", "help":
		fmt.Print(usage)
		return 0
	}
	fmt.Fprintf(os.Stderr, "run: unknown command %q\n%s", args[0], usage)
	return exitUsage
}

func runPrepare(ctx context.Context, args []string) int {
	f := newFlags("prepare")
	update := f.Bool("update", false, "look for a newer kernel")
	if code, ok := f.parse(args); !ok {
		return code
	}
	k, err := prepare(ctx, *update)
	if err != nil {
		return failed(err, exitGuest)
	}
	fmt.Printf("kernel %s is ready in %s\n", k.Version, k.Dir)
	return 0
}

func prepare(ctx context.Context, update bool) (lab.Kernel, error) {
	l, err := lab.New(os.Stderr)
	if err != nil {
		return lab.Kernel{}, err
	}
	return l.Prepare(ctx, update)
}

// failed reports an error, unless the report has said it all already.
func failed(err error, code int) int {
	if errors.Is(err, lab.ErrFailed) {
		return exitFailed
	}
	if errors.Is(err, context.Canceled) {
		err = errors.New("interrupted")
	}
	fmt.Fprintln(os.Stderr, "lab:", err)
	return code
}
