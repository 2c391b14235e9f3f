package ipvs

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// ParseSave reads lines as Save and "ipvsadm -Sn" write them: the commands -A and -a with numeric addresses and the
// short option names, in any order as long as a virtual server stands before its real servers. What is left out has
// ipvsadm's default (-s wlc, -p 300, -g, -w 1). A line may begin with "ipvsadm"; empty lines and lines that begin with #
// are skipped. Only valid tables are read (see Table.Validate); the error names the line.
func ParseSave(r io.Reader) (Table, error) {
	t := Table{}
	lines := bufio.NewScanner(r)
	n := 0
	for lines.Scan() {
		n++
		words := strings.Fields(lines.Text())
		if len(words) > 0 && words[0] == "ipvsadm" {
			words = words[1:]
		}
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		if err := t.addSaved(words); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("line %d: %w", n+1, err)
	}
	return t, nil
}

func (t Table) addSaved(words []string) error {
	o, err := parseOptions(words[1:])
	if err != nil {
		return err
	}
	switch words[0] {
	case "-A":
		key, v, err := o.virtual()
		if err != nil {
			return err
		}
		return t.addVirtual(key, v)
	case "-a":
		key, addr, r, err := o.real()
		if err != nil {
			return err
		}
		return t.addReal(key, addr, r)
	}
	return fmt.Errorf("command %s is not one that ipvsadm -S writes (-A or -a)", words[0])
}

// options are those of one line that have not been taken yet, with their arguments ("" for those without).
type options map[string]string

func parseOptions(words []string) (options, error) {
	o := options{}
	for len(words) > 0 {
		name, arg := words[0], ""
		words = words[1:]
		if !strings.HasPrefix(name, "-") {
			return nil, fmt.Errorf("unexpected word %q", name)
		}
		if len(words) > 0 && !strings.HasPrefix(words[0], "-") {
			arg, words = words[0], words[1:]
		}
		if _, twice := o[name]; twice {
			return nil, fmt.Errorf("option %s stands there twice", name)
		}
		o[name] = arg
	}
	return o, nil
}

func (o options) virtual() (frontend.Key, VirtualServer, error) {
	key, err := o.key()
	if err != nil {
		return key, VirtualServer{}, err
	}
	v := VirtualServer{Scheduler: o.take("-s", "wlc")}
	errs := []error{o.persistence(key, &v)}
	if o.takeFlag("-o", &errs) {
		v.Flags |= OnePacket
	}
	names, given := o["-b"]
	if delete(o, "-b"); given {
		for name := range strings.SplitSeq(names, ",") {
			flag, err := parseSavedFlag(v.Scheduler, name)
			errs = append(errs, err)
			v.Flags |= flag
		}
	}
	return key, v, errors.Join(append(errs, o.rest())...)
}

func (o options) real() (frontend.Key, netip.AddrPort, RealServer, error) {
	key, err := o.key()
	if err != nil {
		return key, netip.AddrPort{}, RealServer{}, err
	}
	addr, err := netip.ParseAddrPort(o.take("-r", ""))
	errs := []error{err}
	r := RealServer{Forwarding: o.forwarding(&errs)}
	for _, n := range []struct {
		to             *uint32
		option, normal string
	}{{&r.Weight, "-w", "1"}, {&r.UpperThreshold, "-x", "0"}, {&r.LowerThreshold, "-y", "0"}} {
		*n.to, err = parseNumber(n.option, o.take(n.option, n.normal))
		errs = append(errs, err)
	}
	return key, addr, r, errors.Join(append(errs, o.rest())...)
}

// key takes the option that names the virtual server.
func (o options) key() (frontend.Key, error) {
	var key frontend.Key
	found := false
	for _, p := range frontend.Protocols() {
		option, err := protocolOption(p)
		if err != nil {
			return key, err
		}
		arg, given := o[option]
		if !given {
			continue
		}
		delete(o, option)
		addr, err := netip.ParseAddrPort(arg)
		if err != nil {
			return key, fmt.Errorf("%s: %w", option, err)
		}
		if found {
			return key, errors.New("two virtual servers in one line")
		}
		key, found = frontend.Key{Addr: addr.Addr(), Protocol: p, Port: addr.Port()}, true
	}
	if !found {
		return key, errors.New("no virtual server (-t, -u or --sctp-service)")
	}
	return key, nil
}

func (o options) persistence(key frontend.Key, v *VirtualServer) error {
	timeout, given := o["-p"]
	if !given {
		return nil // A mask without -p is left over and refused as an option that has no place here.
	}
	delete(o, "-p")
	if timeout == "" {
		timeout = "300"
	}
	v.Flags |= Persistent
	var err error
	if v.PersistenceTimeout, err = parseNumber("-p", timeout); err != nil {
		return err
	}
	mask, given := o["-M"]
	if !given {
		return nil
	}
	delete(o, "-M")
	ones, err := parseMask(key.Addr, mask)
	if ones != key.Addr.BitLen() { // The whole address is 0, as everywhere.
		v.PersistencePrefix = uint8(ones)
	}
	return err
}

// parseMask is the length of a mask: a number for IPv6, four octets for IPv4. None has length 0.
func parseMask(addr netip.Addr, mask string) (int, error) {
	if !addr.Is4() {
		if n, err := strconv.ParseUint(mask, 10, 8); err == nil && n >= 1 && n <= 128 {
			return int(n), nil
		}
		return 0, fmt.Errorf("-M %s: not a prefix length from 1 to 128", mask)
	}
	if m, err := netip.ParseAddr(mask); err == nil && m.Is4() {
		if ones, _ := net.IPMask(m.AsSlice()).Size(); ones > 0 {
			return ones, nil
		}
	}
	return 0, fmt.Errorf("-M %s: not a mask such as 255.255.255.0", mask)
}

func (o options) forwarding(errs *[]error) Forwarding {
	method := Route
	given := 0
	for _, f := range []Forwarding{Masquerade, Tunnel, Route} {
		if option, err := forwardingOption(f); err == nil && o.takeFlag(option, errs) {
			method = f
			given++
		}
	}
	if given > 1 {
		*errs = append(*errs, errors.New("two forwarding methods"))
	}
	if method == Tunnel {
		if kind := o.take("--tun-type", "ipip"); kind != "ipip" {
			*errs = append(*errs, fmt.Errorf("--tun-type %s: only ipip tunnels are supported", kind))
		}
	}
	return method
}

// take takes the argument of an option out of o; other is what a missing option means.
func (o options) take(name, other string) string {
	arg, given := o[name]
	if !given {
		return other
	}
	delete(o, name)
	return arg
}

// takeFlag takes an option without an argument.
func (o options) takeFlag(name string, errs *[]error) bool {
	arg, given := o[name]
	delete(o, name)
	if arg != "" {
		*errs = append(*errs, fmt.Errorf("%s takes no argument, %q stands there", name, arg))
	}
	return given
}

// rest is the error for what nobody took.
func (o options) rest() error {
	if len(o) == 0 {
		return nil
	}
	return fmt.Errorf("no place here for %s", strings.Join(slices.Sorted(maps.Keys(o)), ", "))
}

func parseNumber(option, arg string) (uint32, error) {
	n, err := strconv.ParseUint(arg, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("%s %s: not a number", option, arg)
	}
	return uint32(n), nil
}

// parseSavedFlag knows the names for every scheduler besides those of this one, as ipvsadm does.
func parseSavedFlag(scheduler, name string) (Flags, error) {
	for _, names := range [][3]schedulerFlag{schedulerFlags(scheduler), schedulerFlags("")} {
		for _, f := range names {
			if f.ipvsadm == name {
				return f.flag, nil
			}
		}
	}
	return 0, fmt.Errorf("-b: unknown flag %q of scheduler %q", name, scheduler)
}
