package lab

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// ko returns an ELF file whose only content is a .modinfo section, with a signature behind it.
func ko(info ...string) []byte {
	const header, sectionHeader = 64, 64
	data := strings.Join(info, "\x00") + "\x00"
	names := "\x00.modinfo\x00.shstrtab\x00"
	le := binary.LittleEndian
	b := append([]byte("\x7fELF\x02\x01\x01"), make([]byte, header-7)...)
	le.PutUint16(b[16:], 1)  // ET_REL
	le.PutUint16(b[18:], 62) // EM_X86_64
	le.PutUint32(b[20:], 1)
	le.PutUint64(b[40:], uint64(header+len(data)+len(names))) // section headers
	le.PutUint16(b[52:], header)
	le.PutUint16(b[58:], sectionHeader)
	le.PutUint16(b[60:], 3)
	le.PutUint16(b[62:], 2)
	b = append(append(b, data...), names...)
	section := func(name, kind uint32, off, size int) {
		s := make([]byte, sectionHeader)
		le.PutUint32(s, name)
		le.PutUint32(s[4:], kind)
		le.PutUint64(s[24:], uint64(off))
		le.PutUint64(s[32:], uint64(size))
		b = append(b, s...)
	}
	section(0, 0, 0, 0)
	section(1, 1, header, len(data))
	section(10, 3, header+len(data), len(names))
	return append(b, "signature\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x09~Module signature appended~\n"...)
}

// kernelTree writes modules to a directory like lib/modules/VERSION.
func kernelTree(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range map[string][]byte{
		"net/netfilter/ipvs/ip_vs.ko":          ko("depends=nf_conntrack,libcrc32c", "alias=net-pf-16-proto-16-family-IPVS"),
		"net/netfilter/ipvs/ip_vs_rr.ko":       ko("depends=ip_vs"),
		"net/netfilter/nf_conntrack.ko":        ko("depends=nf_defrag_ipv4,nf-defrag-ipv6,libcrc32c"),
		"net/ipv4/netfilter/nf_defrag_ipv4.ko": ko("depends="),
		"net/ipv6/netfilter/nf_defrag_ipv6.ko": ko("depends="),
		"lib/libcrc32c.ko":                     ko("depends=", "softdep=pre: crc32c-intel post: other"),
		"arch/x86/crypto/crc32c-intel.ko":      ko("alias=cpu:type:x86,ven*fam*mod*:feature:*0094*", "alias=crypto-crc32c"),
		"crypto/crc32c_generic.ko":             ko("alias=crypto-crc32c", "alias=crc32c"),
		"drivers/gpu/unwanted.ko":              ko("depends="),
	} {
		file := filepath.Join(dir, "kernel", name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// guestIndex reads the index that a guest with modules of the kernel tree would have.
func guestIndex(t *testing.T, patterns ...string) *ModuleIndex {
	t.Helper()
	modules, err := readModules(kernelTree(t), patterns)
	if err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	a := newArchive(&buf)
	writeModuleIndex(a, "/m", modules, []byte("kernel/net/unix/unix.ko\n"))
	if err := a.close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, e := range readCPIO(t, buf.Bytes()) {
		if name, ok := strings.CutPrefix(e.Name, "m/modules."); ok {
			if err := os.WriteFile(filepath.Join(dir, "modules."+name), []byte(e.Data), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	x, err := LoadModuleIndex(dir)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func TestModulesComeWithWhatTheyNeedAndWithoutSignature(t *testing.T) {
	modules, err := readModules(kernelTree(t), []string{"net/netfilter/ipvs/ip_vs"})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range modules {
		names = append(names, moduleName(m.Path))
		if bytes.Contains(m.Data, []byte("signature")) || !bytes.HasPrefix(m.Data, []byte("\x7fELF")) {
			t.Errorf("%s: %q", m.Path, m.Data)
		}
	}
	want := []string{"crc32c_intel", "libcrc32c", "nf_defrag_ipv4", "nf_defrag_ipv6", "ip_vs", "nf_conntrack"} // by path
	if d := cmp.Diff(want, names); d != "" {
		t.Errorf("modules (-want +got):\n%s", d)
	}
}

func TestModuleNamesAndAliasesResolveToFilesInLoadingOrder(t *testing.T) {
	x := guestIndex(t, "net/netfilter/ipvs/*", "crypto/*")
	conntrack := []string{"crc32c_intel", "libcrc32c", "nf_defrag_ipv6", "nf_defrag_ipv4", "nf_conntrack"}
	for want, order := range map[string][]string{
		"nf_conntrack":                   conntrack,
		"nf-conntrack":                   conntrack,
		"ip_vs_rr":                       append(append([]string{}, conntrack...), "ip_vs", "ip_vs_rr"),
		"net-pf-16-proto-16-family-IPVS": append(append([]string{}, conntrack...), "ip_vs"),
		"crypto-crc32c":                  {"crc32c_intel", "crc32c_generic"},
		"cpu:type:x86,ven0000fam0006mod000F:feature:,0000,0094,": {"crc32c_intel"},
		"unix": nil, // built in
	} {
		files, err := x.Resolve(want)
		if err != nil {
			t.Errorf("%s: %v", want, err)
		}
		var names []string
		for _, f := range files {
			names = append(names, moduleName(f))
		}
		if !loadable(x, files) || len(names) != len(order) || !sameSet(names, order) {
			t.Errorf("%s: %v, want an order of %v in which needs come first", want, names, order)
		}
	}
}

// loadable says whether every file follows the files it needs.
func loadable(x *ModuleIndex, files []string) bool {
	there := map[string]bool{}
	for _, f := range files {
		for _, need := range x.needs[moduleName(f)] {
			if !there[need] {
				return false
			}
		}
		there[f] = true
	}
	return true
}

func sameSet(a, b []string) bool {
	in := map[string]bool{}
	for _, s := range a {
		in[s] = true
	}
	for _, s := range b {
		if !in[s] {
			return false
		}
	}
	return true
}

func TestUnknownModulesAreNotFound(t *testing.T) {
	x := guestIndex(t, "net/netfilter/ipvs/*")
	for _, name := range []string{"no_such_module", "unwanted", "", "ip_vs*"} {
		if files, err := x.Resolve(name); !errors.Is(err, ErrNoModule) {
			t.Errorf("%q: %v %v, want %v", name, files, err, ErrNoModule)
		}
	}
}

func TestAFileWithoutSignatureIsLeftAlone(t *testing.T) {
	for _, s := range []string{"", "module", "~Module signature appended~\n", "\xff\xff\xff\xff~Module signature appended~\n"} {
		if got := withoutSignature([]byte(s)); string(got) != s {
			t.Errorf("%q became %q", s, got)
		}
	}
}

func TestKernelVersionOfTheMetaPackage(t *testing.T) {
	for record, want := range map[string]string{
		"Package: linux-image-amd64\nDepends: linux-image-6.1.0-56-amd64 (= 6.1.192-2)\nSize: 1\n": "6.1.0-56-amd64",
		"Depends: base, linux-image-6.12.57+deb13-amd64\n":                                         "6.12.57+deb13-amd64",
		"Depends: linux-image-cloud-amd64\n":                                                       "",
		"":                                                                                         "",
	} {
		if got := kernelVersion(record); got != want {
			t.Errorf("%q: %q, want %q", record, got, want)
		}
	}
}
