package ipvsfake

import (
	"math"
	"net/netip"
	"syscall"

	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

// do carries out one operation and returns the errno that Linux 6.1 returns. The order of the checks is the kernel's.
//
//	              no virtual server   no real server   exists                   other
//	add-virtual   -                   -                EEXIST, nothing changed  ENOENT no such scheduler, EINVAL prefix
//	set-virtual   ESRCH               -                real servers are kept    ENOENT no such scheduler, EINVAL prefix
//	del-virtual   ESRCH               -                its real servers go too
//	add-real      ESRCH               -                EEXIST, nothing changed  ERANGE weight or thresholds, EINVAL address
//	set-real      ESRCH               ENOENT           -                        ERANGE weight or thresholds, EINVAL family
//	del-real      ESRCH               ENOENT           -
func (n *namespace) do(op ipvs.Op) error {
	e, exists := n.table[op.Key]
	switch {
	case op.Verb == ipvs.AddVirtual && exists:
		return syscall.EEXIST
	case op.Verb != ipvs.AddVirtual && !exists:
		return syscall.ESRCH
	}
	if err := n.check(op, e); err != nil {
		return err
	}
	op.Virtual = stored(op.Key, op.Virtual)
	n.table.Commit(op)
	if op.Verb == ipvs.DelVirtual {
		delete(n.counters, op.Key)
	}
	return nil
}

// check is why the kernel refuses an operation whose virtual server is there, or is not there yet, as it must be.
func (n *namespace) check(op ipvs.Op, e ipvs.Entry) error {
	_, exists := e.Reals[op.RealKey]
	switch op.Verb {
	case ipvs.AddVirtual, ipvs.SetVirtual:
		return n.checkVirtual(op.Key, op.Virtual)
	case ipvs.DelVirtual:
		return nil
	case ipvs.DelReal:
		if !exists {
			return syscall.ENOENT
		}
		return nil
	case ipvs.AddReal, ipvs.SetReal:
	default:
		return syscall.EOPNOTSUPP
	}
	switch addr := op.RealKey.Addr(); {
	case addr.Is4() != op.Key.Addr.Is4() && op.Real.Forwarding != ipvs.Tunnel:
		return syscall.EINVAL
	case op.Real.Weight > math.MaxInt32 || op.Real.LowerThreshold > op.Real.UpperThreshold:
		return syscall.ERANGE
	case op.Verb == ipvs.SetReal && !exists:
		return syscall.ENOENT
	case op.Verb == ipvs.AddReal && exists:
		return syscall.EEXIST
	case op.Verb == ipvs.AddReal && !unicast(addr):
		return syscall.EINVAL
	}
	return nil
}

func (n *namespace) checkVirtual(key frontend.Key, v ipvs.VirtualServer) error {
	switch {
	case !n.hasScheduler(v.Scheduler):
		return syscall.ENOENT
	case key.Addr.Is6() && v.PersistencePrefix > 128:
		return syscall.EINVAL
	}
	return nil
}

// hasScheduler knows "none" always: it is the kernel's word for no scheduler at all.
func (n *namespace) hasScheduler(name string) bool { return name == "none" || n.schedulers[name] }

// unicast is what the kernel takes as the address of a real server: no IPv4-mapped IPv6 address, and link-local only
// with IPv4.
func unicast(a netip.Addr) bool {
	switch {
	case !a.IsValid(), a.IsUnspecified(), a.IsMulticast(), a.Is4In6():
		return false
	case a.Is4():
		return a != netip.AddrFrom4([4]byte{255, 255, 255, 255}) && a.As4()[0] != 0
	}
	return !a.IsLinkLocalUnicast()
}

// stored is v as a handle reads it back: a prefix as long as the address cannot be told from none, timeout and prefix
// mean nothing without persistence, and the kernel's own flag HASHED (0x2), which it sets on every virtual server, is
// stripped.
func stored(key frontend.Key, v ipvs.VirtualServer) ipvs.VirtualServer {
	if int(v.PersistencePrefix) == key.Addr.BitLen() {
		v.PersistencePrefix = 0
	}
	if v.Flags&ipvs.Persistent == 0 {
		v.PersistenceTimeout, v.PersistencePrefix = 0, 0
	}
	v.Flags &^= 0x2
	return v
}
