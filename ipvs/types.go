package ipvs

import (
	"fmt"
	"math"
	"net/netip"
	"strings"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// Flags of a virtual server (linux/ip_vs.h, IP_VS_SVC_F_*). The kernel's own HASHED flag (0x2) never appears here.
type Flags uint32

// The flags that a user of IPVS sets. What Sched1 to Sched3 mean is up to the scheduler: sh and mh read Sched1 as
// fallback (choose another server when the chosen one has weight 0) and Sched2 as port (hash the source port too).
const (
	Persistent Flags = 0x01
	OnePacket  Flags = 0x04
	Sched1     Flags = 0x08
	Sched2     Flags = 0x10
	Sched3     Flags = 0x20

	hashed   Flags = 0x02
	allFlags       = Persistent | OnePacket | Sched1 | Sched2 | Sched3
)

// VirtualServer is the configuration of a virtual server: what it is called stands in its frontend.Key.
type VirtualServer struct {
	// Scheduler is the name of the scheduling method, for example "rr": the kernel loads module ip_vs_NAME for it.
	Scheduler string
	Flags     Flags
	// PersistenceTimeout in seconds; 0 unless Flags has Persistent.
	PersistenceTimeout uint32
	// PersistencePrefix is the prefix length in bits that groups clients for persistence. The whole address is always
	// written as 0, never as 32 or 128, so that equal configurations are equal values.
	PersistencePrefix uint8
}

// Forwarding is the way a packet reaches a real server (linux/ip_vs.h, IP_VS_CONN_F_FWD_MASK).
type Forwarding uint8

// The forwarding methods. Only Masquerade can change the port, so it is the only one that serves node ports.
const (
	Masquerade Forwarding = 0
	Local      Forwarding = 1
	Tunnel     Forwarding = 2
	Route      Forwarding = 3
)

// String is the word that the table text uses: masq, local, tunnel, route.
func (f Forwarding) String() string {
	switch f {
	case Masquerade:
		return "masq"
	case Local:
		return "local"
	case Tunnel:
		return "tunnel"
	case Route:
		return "route"
	}
	return fmt.Sprintf("forwarding-%d", uint8(f))
}

// MaxWeight is the largest weight that is used: ipvsadm takes no more, although the kernel stores 31 bits.
const MaxWeight = 65535

// RealServer is the configuration of a real server; its address and port are the key under which it is kept.
type RealServer struct {
	Forwarding Forwarding
	// Weight 0 gets no new connection and keeps those it has.
	Weight uint32
	// UpperThreshold and LowerThreshold are numbers of connections: the server is left out above the upper one until it
	// falls below the lower one. 0 means no limit.
	UpperThreshold, LowerThreshold uint32
}

// Entry is a virtual server with its real servers.
type Entry struct {
	VirtualServer
	Reals map[netip.AddrPort]RealServer
}

// Connections are the kernel's counts for one real server at one moment. Inactive ones include TIME_WAIT, which lasts
// 120 s, and for UDP every flow that was seen within the UDP timeout counts as inactive.
type Connections struct {
	Active, Inactive uint32
}

// Validate reports what the kernel would accept and never use, or would refuse with a bare errno.
func (v VirtualServer) Validate(key frontend.Key) error {
	switch {
	case !ValidSchedulerName(v.Scheduler):
		return fmt.Errorf("%s: %q is not the name of a scheduler", key, v.Scheduler)
	case v.Flags&^allFlags != 0:
		return fmt.Errorf("%s: unknown flags %#x", key, uint32(v.Flags&^allFlags))
	case v.Flags&Persistent == 0 && (v.PersistenceTimeout != 0 || v.PersistencePrefix != 0):
		return fmt.Errorf("%s: persistence timeout or prefix without persistence", key)
	case v.Flags&Persistent != 0 && v.PersistenceTimeout == 0:
		return fmt.Errorf("%s: persistence without a timeout", key)
	case v.PersistenceTimeout > maxPersistenceTimeout:
		return fmt.Errorf("%s: persistence timeout %ds is above %ds", key, v.PersistenceTimeout, maxPersistenceTimeout)
	case int(v.PersistencePrefix) >= key.Addr.BitLen():
		return fmt.Errorf("%s: persistence prefix /%d is not shorter than the address", key, v.PersistencePrefix)
	case v.Flags&OnePacket != 0 && key.Protocol != frontend.UDP:
		return fmt.Errorf("%s: one-packet scheduling is for UDP", key)
	}
	return nil
}

// maxPersistenceTimeout is 31 days: ipvsadm takes no more, and the kernel counts in ticks of 32 bits.
const maxPersistenceTimeout = 31 * 24 * 60 * 60

// maxSchedulerName is IP_VS_SCHEDNAME_MAXLEN without the closing zero byte.
const maxSchedulerName = 15

func notNameRune(r rune) bool {
	return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '_' && r != '-'
}

// ValidSchedulerName reports whether s could be the name of a scheduler: it reaches the kernel's module loader, so
// nothing but lower-case letters, digits, '_' and '-' is let through.
func ValidSchedulerName(s string) bool {
	return s != "" && len(s) <= maxSchedulerName && !strings.ContainsFunc(s, notNameRune)
}

// Validate reports what the kernel would refuse with a bare errno or accept without use for a real server of key.
func (r RealServer) Validate(key frontend.Key, addr netip.AddrPort) error {
	a := addr.Addr()
	switch {
	case !a.IsValid() || addr.Port() == 0:
		return fmt.Errorf("%s: real server %s: no address or port", key, addr)
	case a.Is4In6() || a.Zone() != "":
		return fmt.Errorf("%s: real server %s: the address is not in canonical form", key, addr)
	case a.Is4() != key.Addr.Is4() && r.Forwarding != Tunnel:
		return fmt.Errorf("%s: real server %s: of the other address family", key, addr)
	case a.IsUnspecified() || a.IsMulticast() || a == broadcast() || a.IsLinkLocalUnicast() && a.Is6():
		return fmt.Errorf("%s: real server %s: not the address of one reachable host", key, addr)
	case r.Weight > MaxWeight:
		return fmt.Errorf("%s: real server %s: weight %d is above %d", key, addr, r.Weight, MaxWeight)
	case r.UpperThreshold > math.MaxInt32 || r.LowerThreshold > r.UpperThreshold:
		return fmt.Errorf("%s: real server %s: lower threshold %d and upper threshold %d", key, addr, r.LowerThreshold, r.UpperThreshold)
	case r.Forwarding == Masquerade || r.Forwarding == Local:
		return nil
	case r.Forwarding > Route:
		return fmt.Errorf("%s: real server %s: unknown forwarding method %d", key, addr, r.Forwarding)
	case addr.Port() != key.Port:
		return fmt.Errorf("%s: real server %s: %s cannot change the port", key, addr, r.Forwarding)
	}
	return nil
}

func broadcast() netip.Addr { return netip.AddrFrom4([4]byte{255, 255, 255, 255}) }
