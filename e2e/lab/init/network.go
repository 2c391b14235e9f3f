package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab"
)

// setUpNetwork gives the guest its address in the user-mode network, and no default route.
func setUpNetwork() error {
	l, err := newLoader()
	if err != nil {
		return err
	}
	if err := l.load("virtio_net"); err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("set up network: %w", err)
	}
	defer unix.Close(fd)
	if err := awaitDevice(fd, lab.NetworkDevice); err != nil {
		return err
	}
	for _, set := range []struct {
		request uint
		value   []byte
	}{
		{unix.SIOCSIFADDR, netip.MustParseAddr(lab.GuestAddress).AsSlice()},
		{unix.SIOCSIFNETMASK, net.CIDRMask(lab.NetworkBits, 32)},
	} {
		ifr, err := unix.NewIfreq(lab.NetworkDevice)
		if err == nil {
			err = ifr.SetInet4Addr(set.value)
		}
		if err == nil {
			err = unix.IoctlIfreq(fd, set.request, ifr)
		}
		if err != nil {
			return fmt.Errorf("give %s its address: %w", lab.NetworkDevice, err)
		}
	}
	ifr, err := unix.NewIfreq(lab.NetworkDevice)
	if err != nil {
		return fmt.Errorf("bring %s up: %w", lab.NetworkDevice, err)
	}
	ifr.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr); err != nil {
		return fmt.Errorf("bring %s up: %w", lab.NetworkDevice, err)
	}
	return nil
}

// awaitDevice waits until a network device is there.
func awaitDevice(fd int, name string) error {
	for deadline := time.Now().Add(portPatience); ; time.Sleep(5 * time.Millisecond) {
		ifr, err := unix.NewIfreq(name)
		if err == nil {
			err = unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, ifr)
		}
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.ENODEV) || time.Now().After(deadline) {
			return fmt.Errorf("no device %s within %v: %w", name, portPatience, err)
		}
	}
}
