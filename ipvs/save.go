package ipvs

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// Save writes the table as lines that "ipvsadm -R" takes, each as "ipvsadm -Sn" prints it (ipvsadm 1.31), and the
// thresholds besides, which ipvsadm reads but does not save:
//
//	-A -t 10.1.0.10:30080 -s rr
//	-a -t 10.1.0.10:30080 -r 10.244.1.2:8080 -m -w 1
//
// Virtual servers are sorted by address, port and protocol (ipvsadm prints by protocol first), each with its real
// servers after it. Nothing is written when an entry has no such form: a real server forwarded to locally (the kernel
// reports some, no option makes one), an unknown flag or protocol.
func (t Table) Save(w io.Writer) error {
	var b bytes.Buffer
	for _, key := range t.Keys() {
		e := t[key]
		option, err := protocolOption(key.Protocol)
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		if unknown := e.Flags &^ allFlags; unknown != 0 {
			return fmt.Errorf("%s: ipvsadm has no option for flags %#x", key, uint32(unknown))
		}
		name := option + " " + key.AddrPort().String()
		fmt.Fprintf(&b, "-A %s%s\n", name, saveVirtual(key, e.VirtualServer))
		for _, addr := range e.RealKeys() {
			options, err := saveReal(e.Reals[addr])
			if err != nil {
				return fmt.Errorf("%s: real server %s: %w", key, addr, err)
			}
			fmt.Fprintf(&b, "-a %s -r %s%s\n", name, addr, options)
		}
	}
	_, err := b.WriteTo(w)
	return err
}

func protocolOption(p frontend.Protocol) (string, error) {
	switch p {
	case frontend.TCP:
		return "-t", nil
	case frontend.UDP:
		return "-u", nil
	case frontend.SCTP:
		return "--sctp-service", nil
	}
	return "", fmt.Errorf("ipvsadm has no option for protocol %s", p)
}

func forwardingOption(f Forwarding) (string, error) {
	switch f {
	case Masquerade:
		return "-m", nil
	case Tunnel:
		return "-i", nil
	case Route:
		return "-g", nil
	case Local:
	}
	return "", fmt.Errorf("ipvsadm has no option for forwarding method %s", f)
}

func saveVirtual(key frontend.Key, v VirtualServer) string {
	var b strings.Builder
	fmt.Fprintf(&b, " -s %s", v.Scheduler)
	if v.Flags&Persistent != 0 {
		fmt.Fprintf(&b, " -p %d", v.PersistenceTimeout)
		switch {
		case v.PersistencePrefix == 0:
		case key.Addr.Is4():
			fmt.Fprintf(&b, " -M %s", net.IP(net.CIDRMask(int(v.PersistencePrefix), 32)))
		default:
			fmt.Fprintf(&b, " -M %d", v.PersistencePrefix)
		}
	}
	if v.Flags&OnePacket != 0 {
		b.WriteString(" -o")
	}
	var names []string
	for _, f := range schedulerFlags(v.Scheduler) {
		if v.Flags&f.flag != 0 {
			names = append(names, f.ipvsadm)
		}
	}
	if len(names) > 0 {
		b.WriteString(" -b " + strings.Join(names, ","))
	}
	return b.String()
}

func saveReal(r RealServer) (string, error) {
	forwarding, err := forwardingOption(r.Forwarding)
	if err != nil {
		return "", err
	}
	s := fmt.Sprintf(" %s -w %d", forwarding, r.Weight)
	if r.Forwarding == Tunnel {
		s += " --tun-type ipip"
	}
	if r.UpperThreshold != 0 {
		s += fmt.Sprintf(" -x %d", r.UpperThreshold)
	}
	if r.LowerThreshold != 0 {
		s += fmt.Sprintf(" -y %d", r.LowerThreshold)
	}
	return s, nil
}
