// Command init is pid 1 of the lab's guest: it makes a small system out of the initramfs, runs the steps of the job
// that came with it and sends output, exit codes and files to the host, as frames on a virtio-serial port.
//
// Called as modprobe it loads modules, for the kernel's autoload and for programs that call modprobe.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	if filepath.Base(os.Args[0]) == "modprobe" {
		l, err := newLoader()
		if err != nil {
			fmt.Fprintln(os.Stderr, "modprobe: FATAL:", err)
			os.Exit(1)
		}
		os.Exit(modprobe(os.Args[1:], l, os.Stderr))
	}
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "init: this is the init of a guest; run the lab with e2e/lab/run")
		os.Exit(2)
	}
	if err := serve(); err != nil {
		// The serial console is what the host shows when the guest ends without its trailer.
		fmt.Fprintln(os.Stderr, "init:", err)
		_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	}
	// The host ends the guest once it has all. A write to the port returns before the host has read anything
	// (drivers/char/virtio_console.c, port_fops_write): a power-off would lose what waits there.
	for {
		time.Sleep(time.Hour) // pid 1 must not return
	}
}
