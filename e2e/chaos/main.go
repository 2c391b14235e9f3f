// Command chaos tries to break the promise that nothing is lost: see docs/reliability.md, which it writes.
//
//	etcd, kube-apiserver ── objects that change all the while
//	        │
//	   a guest with Debian's kernel, emulated, one processor, or two for a soak
//	        └─ chaos-guest (package guest): two nodes, a client that asks without end, an agent that is killed and cut off,
//	           pods, Services and addresses that come and go, and a ledger of it all (package ledger)
//
// With -soak nothing is killed: changes come at a steady rate for long, and nothing may grow (package trend).
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	code := run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

// run returns the exit code: 1 if a promise was broken or the run failed, 2 for a wrong command line.
func run(ctx context.Context, args []string) int {
	o, err := parse(os.Stderr, args)
	if errors.Is(err, errHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		return 2
	}
	c := &chaos{options: o, progress: os.Stderr}
	err = errors.Join(c.run(ctx), c.close())
	if ctx.Err() != nil {
		err = errors.New("interrupted")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		return 1
	}
	return 0
}
