package lab

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/kube-ipvs/kube-ipvs/deploy/image"
)

// baseVersion names the content of the base initramfs. Change it with what goes in.
const baseVersion = "2"

// File is a file of the host's that goes into a guest.
type File struct {
	Source string // on the host; a directory goes with everything in it
	Dest   string // absolute path in the guest
}

// baseImage returns the part of the initramfs that is the same for every run: the modules, and the tools with their
// libraries.
func baseImage(version, modulesDir string) ([]byte, error) {
	modules, err := readModules(modulesDir, guestModules())
	if err != nil {
		return nil, err
	}
	builtin, err := os.ReadFile(filepath.Join(modulesDir, "modules.builtin"))
	if err != nil {
		return nil, err
	}
	var buf bytes.Buffer
	a := newArchive(&buf)
	a.charDevice("/dev/console", 0o600, 5, 1) // without it init has no output
	for _, d := range []string{"/proc", "/sys", "/run", "/tmp", "/etc"} {
		a.dir(d)
	}
	a.symlink("/sbin/modprobe", "/init")
	a.symlink("/usr/sbin/modprobe", "/init")
	a.file("/etc/passwd", 0o644, []byte("root:x:0:0:root:/root:/bin/sh\n"))
	a.file("/etc/group", 0o644, []byte("root:x:0:\n"))
	a.file("/etc/hosts", 0o644, []byte("127.0.0.1 localhost lab\n::1 localhost\n"))
	writeModuleIndex(a, "/lib/modules/"+version, modules, builtin)
	for _, name := range []string{"nft", "ipvsadm"} {
		p, err := lookTool(name)
		if err != nil {
			return nil, err
		}
		if err := addProgram(a, p, "/usr/sbin/"+name); err != nil {
			return nil, err
		}
	}
	for _, f := range []string{protocolNames, "/etc/services"} {
		b, err := os.ReadFile(f)
		if err != nil {
			return nil, fmt.Errorf("names for nft: %w", err)
		}
		a.file(f, 0o644, b)
	}
	if err := a.close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// addProgram adds a program with the shared libraries it needs, which keep their paths.
func addProgram(a *archive, source, dest string) error {
	dirs, err := image.LibraryDirs(guestArch)
	if err != nil {
		return err
	}
	libs, err := image.Libraries("/", source, dirs)
	if err != nil {
		return err
	}
	for _, lib := range libs {
		if err := addFile(a, lib.File, lib.Path); err != nil {
			return err
		}
	}
	return addFile(a, source, dest)
}

// addFile adds a regular file with its permissions.
func addFile(a *archive, source, dest string) error {
	b, err := os.ReadFile(source)
	if err != nil {
		return err
	}
	info, err := os.Stat(source)
	if err != nil {
		return err
	}
	a.file(dest, uint32(info.Mode().Perm()), b)
	return nil
}

// addTree adds a file or a directory with everything in it; programs with their libraries.
func addTree(a *archive, f File) error {
	return filepath.WalkDir(f.Source, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(f.Source, p)
		if err != nil {
			return err
		}
		dest := path.Join(f.Dest, filepath.ToSlash(rel))
		switch {
		case d.IsDir():
			a.dir(dest)
			return nil
		case d.Type()&fs.ModeSymlink != 0 && p != f.Source:
			target, err := os.Readlink(p)
			if err != nil {
				return err
			}
			a.symlink(dest, target)
			return nil
		}
		return addProgram(a, p, dest)
	})
}

// writeImage writes the initramfs of one run: the base, followed by an archive with init, the job and its files.
func writeImage(w io.Writer, k Kernel, init string, job Job, files []File) error {
	base, err := os.Open(k.base())
	if err != nil {
		return err
	}
	defer base.Close()
	if _, err := io.Copy(w, base); err != nil {
		return err
	}
	spec, err := json.Marshal(job)
	if err != nil {
		return err
	}
	a := newArchive(w)
	if err := addFile(a, init, "/init"); err != nil {
		return err
	}
	a.file(JobPath, 0o644, spec)
	for _, f := range files {
		if err := addTree(a, f); err != nil {
			return fmt.Errorf("add %s to the guest: %w", f.Source, err)
		}
	}
	return a.close()
}
