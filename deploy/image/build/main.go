// Command build builds the root file system of the agent's image: see package image.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"

	"github.com/kube-ipvs/kube-ipvs/deploy/image"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "build:", err)
		os.Exit(1)
	}
}

// run works in the agent's module.
func run(ctx context.Context, args []string, stdout io.Writer) error {
	o := image.Options{Module: ".", Progress: os.Stderr}
	f := flag.NewFlagSet("build", flag.ContinueOnError)
	f.StringVar(&o.Arch, "arch", runtime.GOARCH, "architecture, `amd64 or arm64`")
	f.StringVar(&o.Out, "out", "", "`directory` for the root file system; an earlier one is replaced")
	f.StringVar(&o.Version, "version", "dev", "what kube-ipvs version prints")
	f.StringVar(&o.Cache, "cache", "", "`directory` for apt's lists and packages (default: in the user's cache directory)")
	if err := f.Parse(args); err != nil {
		return err
	}
	if o.Out == "" || f.NArg() > 0 {
		return fmt.Errorf("usage: build -arch amd64 -version v1 -out DIRECTORY")
	}
	if o.Cache == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return fmt.Errorf("find cache directory: %w", err)
		}
		o.Cache = filepath.Join(cache, "kube-ipvs", "image")
	}
	files, err := image.Build(ctx, o)
	if err != nil {
		return err
	}
	for _, file := range files {
		info, err := os.Stat(filepath.Join(o.Out, file))
		if err != nil {
			return err
		}
		fmt.Fprintf(stdout, "%10d %s\n", info.Size(), file)
	}
	return nil
}
