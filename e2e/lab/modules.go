package lab

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strings"
)

// guestModules are the modules of the guest, as patterns of paths below lib/modules/VERSION/kernel without the
// suffix. What they depend on comes along. All of them are loaded on demand.
func guestModules() []string {
	return []string{
		"net/netfilter/*", "net/netfilter/ipvs/*", "net/netfilter/ipset/*",
		"net/ipv4/netfilter/*", "net/ipv6/netfilter/*",
		"net/bridge/*", "net/bridge/netfilter/*",
		"net/sctp/*", "net/ipv4/*_diag", "net/netlink/*_diag", "net/packet/*_diag", "net/unix/*_diag",
		"net/ipv4/ipip", "net/ipv4/ip_gre", "net/ipv4/fou", "net/ipv6/ip6_tunnel", "net/ipv6/sit", "net/ipv6/fou6",
		"net/8021q/*", "net/sched/sch_netem", "net/sched/sch_fq*", "net/sched/sch_tbf",
		"drivers/net/veth", "drivers/net/dummy", "drivers/net/tun", "drivers/net/macvlan", "drivers/net/vxlan/*",
		"drivers/net/virtio_net", "drivers/virtio/virtio_pci", "drivers/char/virtio_console",
		"drivers/char/hw_random/virtio-rng", "fs/overlayfs/*",
		"crypto/crc32c_generic", "arch/x86/crypto/crc32c-intel", "lib/libcrc32c",
	}
}

// module is a kernel module as its own .modinfo section describes it.
type module struct {
	Path    string // below lib/modules/VERSION, with .ko
	Data    []byte // uncompressed, without signature
	Depends []string
	Soft    []string // what "softdep: pre:" names
	Aliases []string
}

// readModules reads the modules below dir (lib/modules/VERSION) that the patterns name, with everything they depend
// on, sorted by path. The package of a kernel has no modules.dep; but each module knows what it depends on.
func readModules(dir string, patterns []string) ([]module, error) {
	files, err := moduleFiles(dir)
	if err != nil {
		return nil, err
	}
	var queue []string
	for name, file := range files {
		if matchAny(patterns, strings.TrimPrefix(moduleStem(file), "kernel/")) {
			queue = append(queue, name)
		}
	}
	found := map[string]module{}
	for len(queue) > 0 {
		name := queue[0]
		queue = queue[1:]
		file, ok := files[name]
		if _, done := found[name]; done || !ok { // what has no file is built in
			continue
		}
		m, err := readModule(dir, file)
		if err != nil {
			return nil, err
		}
		found[name] = m
		queue = append(queue, m.Depends...)
		queue = append(queue, m.Soft...)
	}
	modules := make([]module, 0, len(found))
	for _, m := range found {
		modules = append(modules, m)
	}
	sort.Slice(modules, func(i, j int) bool { return modules[i].Path < modules[j].Path })
	return modules, nil
}

// moduleFiles maps the name of each module to its file, relative to dir.
func moduleFiles(dir string) (map[string]string, error) {
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		if stem := moduleStem(rel); stem != rel && !d.IsDir() {
			files[moduleName(rel)] = rel
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list modules: %w", err)
	}
	return files, nil
}

func matchAny(patterns []string, name string) bool {
	for _, p := range patterns {
		if ok, _ := path.Match(p, name); ok {
			return true
		}
	}
	return false
}

// readModule reads one module. The signature at its end is dropped: the kernel would verify it, and a SHA-256 of
// every module costs more emulated than the module does. Debian's kernel accepts modules without (MODULE_SIG_FORCE is
// off) and only marks itself tainted.
func readModule(dir, file string) (module, error) {
	b, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return module{}, fmt.Errorf("read module: %w", err)
	}
	if b, err = decompress(b); err != nil {
		return module{}, fmt.Errorf("read module %s: %w", file, err)
	}
	m := module{Path: moduleStem(file) + ".ko"}
	e, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		return module{}, fmt.Errorf("read module %s: %w", file, err)
	}
	section := e.Section(".modinfo")
	if section == nil {
		return module{}, fmt.Errorf("read module %s: no section .modinfo", file)
	}
	info, err := section.Data()
	if err != nil {
		return module{}, fmt.Errorf("read module %s: %w", file, err)
	}
	m.parseInfo(string(info))
	m.Data = withoutSignature(b)
	return m, nil
}

// parseInfo takes over the key=value strings of a .modinfo section.
func (m *module) parseInfo(info string) {
	for s := range strings.SplitSeq(info, "\x00") {
		key, value, _ := strings.Cut(s, "=")
		switch key {
		case "depends":
			for d := range strings.SplitSeq(value, ",") {
				if d != "" {
					m.Depends = append(m.Depends, normalName(d))
				}
			}
		case "softdep":
			m.Soft = append(m.Soft, softPre(value)...)
		case "alias":
			m.Aliases = append(m.Aliases, value)
		}
	}
}

// softPre returns the modules after "pre:" in a soft dependency such as "pre: a b post: c".
func softPre(s string) []string {
	var pre []string
	in := false
	for w := range strings.FieldsSeq(s) {
		switch {
		case strings.HasSuffix(w, ":"):
			in = w == "pre:"
		case in:
			pre = append(pre, normalName(w))
		}
	}
	return pre
}

// withoutSignature cuts off the signature that the kernel's build appends to a module: signature, a 12-byte header
// whose last four bytes are the signature's length, and a marker (include/linux/module_signature.h).
func withoutSignature(b []byte) []byte {
	const marker, header = "~Module signature appended~\n", 12
	body, ok := bytes.CutSuffix(b, []byte(marker))
	if !ok || len(body) < header {
		return b
	}
	n := body[len(body)-4:]
	length := int(n[0])<<24 | int(n[1])<<16 | int(n[2])<<8 | int(n[3])
	if end := len(body) - header - length; length >= 0 && end >= 0 {
		return body[:end]
	}
	return b
}

// moduleStem returns a path without .ko and the suffix of its compression; the path itself if it is no module.
func moduleStem(file string) string {
	for _, suffix := range []string{".ko", ".ko.xz", ".ko.zst", ".ko.gz"} {
		if s, ok := strings.CutSuffix(file, suffix); ok {
			return s
		}
	}
	return file
}

// moduleName returns the name of the module in a file.
func moduleName(file string) string { return normalName(path.Base(moduleStem(file))) }

// normalName spells a module's name as the kernel does: '-' and '_' are the same.
func normalName(s string) string { return strings.ReplaceAll(s, "-", "_") }
