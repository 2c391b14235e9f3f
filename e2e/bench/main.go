// Command bench compares kube-ipvs with kube-proxy in IPVS and in nftables mode, on the same kernel and the same API objects: see
// docs/performance.md, which it writes.
//
//	etcd, kube-apiserver ── the objects (package objects)
//	        │
//	   a guest with Debian's kernel, one processor, emulated
//	        └─ bench-guest (package guest): one subject after the other, each in network namespaces of its own, behind a
//	           gauge that sees what arrives, observed from outside
//	        │
//	        │ beside the guest, on the machine's own processor: what kube-ipvs takes at rest (package native)
//	        │
//	   samples ─► results.json, table.md, *.svg (package result)
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/kube-ipvs/kube-ipvs/e2e/bench/native"
)

func main() {
	native.Main()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	code := run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

// run returns the exit code: 1 if something was not measured, 2 for a wrong command line.
func run(ctx context.Context, args []string) int {
	o, err := parse(args)
	if errors.Is(err, errHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 2
	}
	b := &bench{options: o, progress: os.Stderr}
	err = errors.Join(b.run(ctx), b.close())
	if ctx.Err() != nil {
		err = errors.New("interrupted")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 1
	}
	return 0
}
