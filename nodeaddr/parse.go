package nodeaddr

import (
	"errors"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
)

// maxInterfaceName is the longest name that the kernel gives an interface (IFNAMSIZ without its NUL).
const maxInterfaceName = 15

// ParseSpec reads the entries of --nodeport-addresses: CIDRs of either family, "primary", "all" and "iface:GLOB" (a
// pattern of path.Match on the name of the interface), in any mixture. An element may hold several entries separated
// by commas. Host bits of a CIDR are masked away, as kube-proxy does; repeated entries count once. The error joins all
// bad entries, and each part names its entry and what to write instead.
func ParseSpec(entries []string) (Spec, error) {
	var spec Spec
	var errs []error
	for _, text := range splitEntries(entries) {
		e, err := parseEntry(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("%q: %w", text, err))
			continue
		}
		if !slices.Contains(spec.entries, e) {
			spec.entries = append(spec.entries, e)
		}
	}
	if len(errs) > 0 {
		return Spec{}, errors.Join(errs...)
	}
	if len(spec.entries) == 0 {
		return Spec{}, errors.New(`no entries: write "primary" or "all", CIDRs, or "iface:NAME"; ` + mendNothing)
	}
	return spec, nil
}

const mendNothing = `to serve no address write "127.0.0.0/8,::1/128"`

func splitEntries(entries []string) []string {
	var out []string
	for _, e := range entries {
		for part := range strings.SplitSeq(e, ",") {
			out = append(out, strings.TrimSpace(part))
		}
	}
	return out
}

func parseEntry(text string) (entry, error) {
	switch glob, isInterface := strings.CutPrefix(text, interfaceMark); {
	case text == "":
		return entry{}, errors.New("empty entry: take out the comma too many; " + mendNothing)
	case text == "primary":
		return entry{kind: byNode}, nil
	case text == "all":
		return entry{kind: byAny}, nil
	case text == "localhost":
		return entry{}, errors.New("node ports on 127.0.0.1 and ::1 are not possible: IPVS would send a loopback address" +
			" to other hosts as the client, and no answer finds back; use an address of the node instead")
	case text == "none":
		return entry{}, errors.New(mendNothing)
	case isInterface:
		return entry{kind: byInterface, glob: glob}, checkGlob(glob)
	case strings.EqualFold(text, "primary"), strings.EqualFold(text, "all"):
		return entry{}, fmt.Errorf("write %q", strings.ToLower(text))
	}
	prefix, err := parsePrefix(text)
	if err != nil {
		return entry{}, err
	}
	return entry{kind: byPrefix, prefix: prefix.Masked()}, nil
}

func checkGlob(glob string) error {
	if glob == "" {
		return errors.New(`no interface: write "iface:eth0" or a pattern such as "iface:eth*"`)
	}
	if _, err := path.Match(glob, ""); err != nil {
		return fmt.Errorf(`%w: "*", "?" and "[a-z]" are known, "\" takes their meaning away`, err)
	}
	if strings.ContainsAny(glob, `*?[\`) {
		return nil
	}
	return checkInterfaceName(glob)
}

// checkInterfaceName knows the rules of the kernel's dev_valid_name.
func checkInterfaceName(name string) error {
	switch {
	case name == "":
		return errors.New("no name of an interface")
	case len(name) > maxInterfaceName:
		return fmt.Errorf("no interface has a name of more than %d characters", maxInterfaceName)
	case name == "." || name == ".." || strings.ContainsAny(name, "/: \t\n\v\f\r"):
		return fmt.Errorf("%q cannot be the name of an interface", name)
	}
	return nil
}

// parsePrefix reads ADDRESS/LENGTH, keeps the host bits, and says for each usual slip what to write instead.
func parsePrefix(text string) (netip.Prefix, error) {
	addrText, bitsText, hasBits := strings.Cut(text, "/")
	addr, err := netip.ParseAddr(addrText)
	switch {
	case err != nil && withoutLeadingZeros(addrText) != addrText:
		return netip.Prefix{}, fmt.Errorf("leading zeros are ambiguous (decimal or octal): write %s",
			strings.Replace(text, addrText, withoutLeadingZeros(addrText), 1))
	case err != nil && !hasBits && checkInterfaceName(text) == nil:
		return netip.Prefix{}, fmt.Errorf(`not an address: for an interface write "iface:%s"`, text)
	case err != nil:
		return netip.Prefix{}, errors.New("not a CIDR: write for example 10.0.0.0/8 or fd00::/8")
	case addr.Zone() != "":
		return netip.Prefix{}, fmt.Errorf(`a CIDR has no zone: write "iface:%s" to select an interface`, addr.Zone())
	case !hasBits:
		addr = addr.Unmap()
		return netip.Prefix{}, fmt.Errorf("a single address needs its length: write %s/%d", addr, addr.BitLen())
	}
	bits, err := strconv.ParseUint(bitsText, 10, 8)
	if err != nil || int(bits) > addr.BitLen() || strconv.FormatUint(bits, 10) != bitsText {
		return netip.Prefix{}, fmt.Errorf("the length behind the slash must be a number from 0 to %d", addr.BitLen())
	}
	prefix := netip.PrefixFrom(addr, int(bits))
	switch {
	case addr.Is4In6() && bits >= 96:
		return netip.Prefix{}, fmt.Errorf("an IPv4 network in IPv6 notation: write %s",
			netip.PrefixFrom(addr.Unmap(), int(bits)-96))
	case addr.Is4In6():
		return netip.Prefix{}, fmt.Errorf("an IPv4 address with the length of an IPv6 network: write %s/32", addr.Unmap())
	}
	return prefix, nil
}

// withoutLeadingZeros takes leading zeros from the parts of a dotted quad; any other text comes back as it is.
func withoutLeadingZeros(text string) string {
	parts := strings.Split(text, ".")
	for i, p := range parts {
		if n, err := strconv.ParseUint(p, 10, 8); err == nil {
			parts[i] = strconv.FormatUint(n, 10)
		}
	}
	plain := strings.Join(parts, ".")
	if addr, err := netip.ParseAddr(plain); err != nil || !addr.Is4() {
		return text
	}
	return plain
}

// ParseStatic reads addresses that are given instead of read from the kernel, as IFACE=ADDRESS/LENGTH; an element may
// hold several separated by commas. The result is sorted and without repetition. The error joins all bad entries.
func ParseStatic(entries []string) ([]Address, error) {
	var addrs []Address
	var errs []error
	for _, text := range splitEntries(entries) {
		a, err := parseAddress(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("%q: %w", text, err))
			continue
		}
		addrs = append(addrs, a)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	slices.SortFunc(addrs, Address.Compare)
	return slices.Compact(addrs), nil
}

func parseAddress(text string) (Address, error) {
	name, prefixText, ok := strings.Cut(text, "=")
	if !ok {
		return Address{}, errors.New("write INTERFACE=ADDRESS/LENGTH, for example eth0=10.1.0.10/24")
	}
	if err := checkInterfaceName(name); err != nil {
		return Address{}, err
	}
	prefix, err := parsePrefix(prefixText)
	if err != nil {
		return Address{}, err
	}
	return Address{Addr: prefix.Addr(), PrefixLen: prefix.Bits(), Interface: name}, nil
}
