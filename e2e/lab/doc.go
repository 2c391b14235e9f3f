// Package lab runs tests and programs as root on a real Linux kernel with IPVS, on any Debian machine.
//
// Most machines that build this project have no IPVS in their own kernel, so the lab brings one: Debian's stock
// kernel in QEMU. The processor is emulated (TCG) on purpose: nested KVM hangs in some build environments.
//
//	host                                            guest
//	────                                            ─────
//	apt: linux-image-amd64 ─► vmlinux ─────────────► kernel
//	     kernel modules, nft, ipvsadm ─► base ──┐
//	go build: init, tests, programs ─► overlay ─┴──► initramfs ─► init (e2e/lab/init, pid 1)
//	                                                               │ one fresh network namespace per step
//	output, exit codes, files ◄── frames, one virtio-serial port ──┘
//	last words of the kernel  ◄── serial console
//
// The environment variable KERNEL_SERIES chooses another series of kernels than that of the machine's Debian: apt then asks the
// release and its backports through lists of the lab's own.
//
// The guest is made of its initramfs only: it sees no file of the host and has no network, unless its [Network]
// leads to the host's loopback. Modules are loaded on demand by the kernel itself, through the modprobe that init also is.
//
// A [Job] is a list of [Step]s. [Guest] and [Host] run jobs, the latter in the machine's own kernel. [Suite] turns
// Go packages into a job and judges what came back: a test that was skipped, a package without a test that ran and a
// guest that died are failures, for a kernel test that passes without a kernel is worth less than none.
package lab
