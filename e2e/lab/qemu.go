package lab

import (
	"strconv"
	"strings"
)

// qemuArgs returns QEMU's command line. The frames' socket is file descriptor 3, the initramfs 4, the serial
// console stdout.
func (g *Guest) qemuArgs() []string {
	args := []string{
		"-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
		// q35 boots quicker than pc (measured 15 s against 7 s); microvm hangs.
		"-M", "q35,usb=off,vmport=off,smbus=off,i8042=off",
		// Emulation, never KVM: nested KVM hangs in some build environments. With one CPU a guest starts sooner than with two.
		"-accel", "tcg", "-cpu", "max", "-smp", strconv.Itoa(max(1, g.CPUs)), "-m", g.Memory,
		"-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console",
		"-chardev", "socket,id=frames,fd=3",
		"-device", "virtio-serial-pci,disable-legacy=on,max_ports=2",
		"-device", "virtserialport,chardev=frames,name=" + PortName,
		"-kernel", g.Kernel.vmlinux(), "-initrd", "/proc/self/fd/4",
		"-append", strings.Join(kernelArgs(), " "),
	}
	if g.Network != nil {
		args = append(args, g.Network.args()...)
	}
	return args
}

// kernelArgs returns the kernel's parameters: a quiet console, an end instead of a reboot, and less to do at boot. The TSC is not said to be
// reliable: on a busy host the kernel finds a wrong frequency for it now and then, up to 25 times too low, and only its watchdog notices.
func kernelArgs() []string {
	return []string{
		"console=ttyS0", "quiet", "loglevel=4",
		"panic=-1", "oops=panic",
		"mitigations=off", "nokaslr", "no_timer_check", "random.trust_cpu=on",
		"init_on_alloc=0", "audit=0", "apparmor=0", "cryptomgr.notests", "rcupdate.rcu_expedited=1",
	}
}
