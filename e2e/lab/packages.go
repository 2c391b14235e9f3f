package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// tool is a program, or a file by its absolute path, that the lab needs on the host, and the Debian package that has it.
type tool struct{ program, pkg, why string }

func tools() []tool {
	return []tool{
		{"qemu-system-x86_64", "qemu-system-x86", "runs the guest"},
		{"nft", "nftables", "goes into the guest"},
		{"ipvsadm", "ipvsadm", "goes into the guest"},
		{protocolNames, "netbase", "has the names that nft prints"},
		{"xz", "xz-utils", "unpacks the kernel"},
		{"zstd", "zstd", "unpacks the kernel"},
	}
}

// protocolNames is where nft reads the names of protocols; beside it are those of services. A minimal Debian has neither.
const protocolNames = "/etc/protocols"

// isThere reports whether the host has the tool.
func (t tool) isThere() bool {
	if strings.HasPrefix(t.program, "/") {
		_, err := os.Stat(t.program)
		return err == nil
	}
	_, err := lookTool(t.program)
	return err == nil
}

// sbin holds programs for root, which are not in everybody's PATH.
func sbin() []string { return []string{"/usr/sbin", "/sbin", "/usr/local/sbin"} }

// lookTool finds a program in PATH and where root's programs are.
func lookTool(name string) (string, error) {
	if p, err := exec.LookPath(name); err == nil {
		return p, nil
	}
	for _, d := range sbin() {
		if p, err := exec.LookPath(d + "/" + name); err == nil {
			return p, nil
		}
	}
	return "", fmt.Errorf("program %s: %w", name, exec.ErrNotFound)
}

// installTools installs what is missing, with sudo unless root, and says so. Where it cannot, the error has the line
// that does.
func installTools(ctx context.Context, progress io.Writer) error {
	return installMissing(ctx, progress, os.Geteuid())
}

func installMissing(ctx context.Context, progress io.Writer, euid int) error {
	return install(ctx, progress, euid, tools())
}

// Need returns where a program is that a guest is to have beside those of every guest, and installs its Debian package if it is
// missing.
func (l *Lab) Need(ctx context.Context, program, pkg, why string) (string, error) {
	if err := install(ctx, l.Progress, os.Geteuid(), []tool{{program, pkg, why}}); err != nil {
		return "", err
	}
	return lookTool(program)
}

func install(ctx context.Context, progress io.Writer, euid int, wanted []tool) error {
	missing := slices.DeleteFunc(wanted, tool.isThere)
	if len(missing) == 0 {
		return nil
	}
	packages := make([]string, len(missing))
	for i, t := range missing {
		packages[i] = t.pkg
	}
	command := append([]string{"apt-get", "install", "-y", "-q", "--no-install-recommends"}, packages...)
	if err := needApt(); err != nil {
		return fmt.Errorf("%w (missing: %s)", err, strings.Join(packages, " "))
	}
	if _, err := rootCommand(euid, command); err != nil {
		return err
	}
	for _, t := range missing {
		fmt.Fprintf(progress, "lab: %s is missing: it %s; installing package %s\n", t.program, t.why, t.pkg)
	}
	if err := asRoot(ctx, progress, command...); err == nil {
		return nil
	}
	// Lists that are absent or old name packages that are not there: refresh them and try once more.
	if err := asRoot(ctx, progress, "apt-get", "update", "-q"); err != nil {
		return err
	}
	return asRoot(ctx, progress, command...)
}

func needApt() error {
	if _, err := exec.LookPath("apt-get"); err != nil {
		return errors.New("the lab gets its kernel and tools from Debian's packages, and this system has no apt-get: " +
			"use a Debian machine or container")
	}
	return nil
}

// asRoot runs a command as root and shows what it prints.
func asRoot(ctx context.Context, progress io.Writer, args ...string) error {
	args, err := rootCommand(os.Geteuid(), args)
	if err != nil {
		return err
	}
	fmt.Fprintln(progress, "lab: running", strings.Join(args, " "))
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, progress, progress
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", strings.Join(args, " "), whyEnded(ctx, err))
	}
	return nil
}

// rootCommand is the command that runs args as root for the user euid.
func rootCommand(euid int, args []string) ([]string, error) {
	if euid == 0 {
		return args, nil
	}
	if _, err := exec.LookPath("sudo"); err != nil {
		return nil, fmt.Errorf("not root and no sudo: run as root: %s", strings.Join(args, " "))
	}
	return append([]string{"sudo"}, args...), nil
}

// output runs a command in a directory and returns what it printed.
func output(ctx context.Context, dir, name string, args ...string) ([]byte, error) {
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Stderr = dir, &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), whyEnded(ctx, err), bytes.TrimSpace(stderr.Bytes()))
	}
	return out, nil
}

// whyEnded is why a command failed: that it was killed says nothing where ctx had it killed.
func whyEnded(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
