package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
)

// Files that say what the server does and what its probe shall say.
const (
	servingFile = "serving"
	unreadyFile = "unready"
)

// serve serves until ctx ends, and then what has begun, for as long as it takes: whoever told it to end kills it in time.
func serve(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("serve", flag.ContinueOnError)
	ports := flags.String("ports", strconv.Itoa(topo.Port), "where to listen, with commas between")
	if err := flags.Parse(args); err != nil {
		return err
	}
	at, err := addresses(os.Getenv("POD_IPS"), *ports)
	if err != nil {
		return err
	}
	s, err := topo.Serve(ctx, os.Getenv("POD_NAME"), at...)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := os.WriteFile(servingFile, nil, 0o600); err != nil {
		return fmt.Errorf("become ready: %w", err)
	}
	<-ctx.Done()
	if err := os.Remove(servingFile); err != nil {
		return fmt.Errorf("become unready: %w", err)
	}
	return s.Shutdown(context.WithoutCancel(ctx))
}

// addresses are all addresses with all ports. Listening on those of the Pod, not on the unspecified one, keeps the answers
// to datagrams on the address that was asked, also where the Pod has its node's network.
func addresses(ips, ports string) ([]netip.AddrPort, error) {
	var all []netip.AddrPort
	for ip := range strings.SplitSeq(ips, ",") {
		for port := range strings.SplitSeq(ports, ",") {
			a, err := netip.ParseAddr(ip)
			if err != nil {
				return nil, fmt.Errorf("POD_IPS: %w", err)
			}
			p, err := strconv.ParseUint(port, 10, 16)
			if err != nil {
				return nil, fmt.Errorf("ports: %w", err)
			}
			all = append(all, netip.AddrPortFrom(a, uint16(p)))
		}
	}
	return all, nil
}

// ready is the probe, or sets what it says.
func ready(args []string) error {
	if len(args) == 0 {
		if _, err := os.Stat(unreadyFile); !errors.Is(err, fs.ErrNotExist) {
			return errors.Join(errors.New("unready, as it was told"), err)
		}
		_, err := os.Stat(servingFile)
		return err
	}
	is, err := strconv.ParseBool(args[0])
	if err != nil {
		return err
	}
	if !is {
		return os.WriteFile(unreadyFile, nil, 0o600)
	}
	if err := os.Remove(unreadyFile); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
