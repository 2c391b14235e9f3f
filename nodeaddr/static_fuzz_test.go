package nodeaddr

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// FuzzParseStatic takes any text for given addresses: what is read is an address on an interface that the kernel could have, and
// written again it is read as the same.
func FuzzParseStatic(f *testing.F) {
	for _, seed := range []string{
		"eth0=10.1.0.10/24", "eth1=10.2.0.10/24,eth0=10.1.0.10/24, eth0=10.1.0.10/24", "eth0=fd01::10/64", "eth0=::ffff:10.1.0.10/120", "eth0=10.01.0.10/24", "=10.1.0.10/24",
		"a=b=10.0.0.1/8", "eth0=10.1.0.10/024", "eth0=fe80::1%eth0/64", "ä\u202e=10.0.0.1/8", "a\x00=::/0", ",", "eth0=10.1.0.10/-0", "\xff=1.2.3.4/32",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		addrs, err := ParseStatic([]string{text})
		if err != nil {
			if addrs != nil {
				t.Errorf("%q: both addresses %v and an error %v", text, addrs, err)
			}
			for entry := range strings.SplitSeq(err.Error(), "\n") {
				if !strings.HasPrefix(entry, `"`) {
					t.Errorf("%q: an error that names no entry: %q", text, entry)
				}
			}
			return
		}
		var written []string
		for _, a := range addrs {
			if !a.Addr.IsValid() || a.Addr.Is4In6() || a.Addr.Zone() != "" || a.PrefixLen < 0 || a.PrefixLen > a.Addr.BitLen() || checkInterfaceName(a.Interface) != nil || a.State != 0 {
				t.Errorf("%q is read as %+v", text, a)
			}
			if !strings.Contains(text, a.Interface+"=") || !strings.Contains(text, fmt.Sprintf("/%d", a.PrefixLen)) {
				t.Errorf("%q has no %v", text, a)
			}
			written = append(written, fmt.Sprintf("%s=%s/%d", a.Interface, a.Addr, a.PrefixLen))
		}
		if len(addrs) == 0 || len(addrs) > 1+strings.Count(text, ",") || !slices.IsSortedFunc(addrs, Address.Compare) || len(slices.Compact(slices.Clone(addrs))) != len(addrs) {
			t.Errorf("%q is read as %v", text, addrs)
		}
		if again, err := ParseStatic(written); err != nil || !slices.Equal(again, addrs) {
			t.Errorf("%q is read as %v, and that as %v, %v", text, addrs, again, err)
		}
	})
}
