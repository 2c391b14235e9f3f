package host

import (
	"errors"
	"fmt"
	"os"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

const (
	reservedPorts  = "net.ipv4.ip_local_reserved_ports"
	ephemeralPorts = "net.ipv4.ip_local_port_range"
)

// ReservedPorts keeps ports of ours in net.ipv4.ip_local_reserved_ports, beside those that others put there. The kernel
// gives none of them to a socket that asks for any port, to bind or to connect from: TCP, UDP and SCTP, IPv4 and IPv6
// alike. Who names a reserved port gets it, and who has one already keeps it. The value belongs to the network namespace
// of the calling thread; each namespace needs a state directory of its own, and one writer that calls one method at a
// time. The zero value is for the real kernel.
//
// The value says of no port who put it there, so what we added that was not there before is recorded. Where ports of ours
// are missing, somebody has written a value of his own, and all that is in it is taken for his: he may have named the
// same ports, and one reserved too many hurts nobody.
type ReservedPorts struct {
	// Root is where sysctls are files (default /proc/sys).
	Root string
	// StateDir holds the record of the ports that we added (default /run/kube-ipvs), as for Sysctls.
	StateDir string
}

// Set reserves the wanted ports, gives up those of ours that are not wanted any more, and writes nothing where nothing
// differs. What it is about to change is recorded first, and nothing is changed that cannot be recorded. Ports that are
// only added are added by the kernel, so what others write in that moment is kept. errors.Is(err, unix.EROFS) means that
// /proc/sys is read-only here, as in a container that is not privileged; fs.ErrNotExist that the kernel has no such setting.
func (r ReservedPorts) Set(wanted []frontend.PortRange) (wrote bool, err error) {
	record, err := r.load()
	if err != nil {
		return false, err
	}
	now, err := readReserved(r.path())
	if err != nil {
		return false, err
	}
	ours := record.ours(&now.ports)
	others := now.ports.minus(ours)
	goal := newPortSet(wanted).minus(others)
	if *goal != *ours {
		err := r.change(now, ours, goal)
		return err == nil, err
	}
	if *goal != record.Ours || !record.Pending.empty() {
		return false, r.store(reservedRecord{BootID: record.BootID, Ours: *goal})
	}
	return false, nil
}

// Restore takes out the ports that we added and no others, and returns them. Without a record there is nothing to do.
func (r ReservedPorts) Restore() (removed []frontend.PortRange, err error) {
	record, err := r.load()
	if err != nil {
		return nil, err
	}
	if record.Ours.empty() && record.Pending.empty() {
		return nil, forgetRecord(r.recordPath())
	}
	now, err := readReserved(r.path())
	if err != nil {
		return nil, err
	}
	ours := record.ours(&now.ports)
	if !ours.empty() {
		if err := r.change(now, ours, new(portSet)); err != nil {
			return nil, err
		}
	}
	return ours.ranges(), forgetRecord(r.recordPath())
}

// change makes goal of ours.
func (r ReservedPorts) change(now reservedValue, ours, goal *portSet) error {
	boot, err := r.sysctls().bootID()
	if err != nil {
		return err
	}
	file, err := os.OpenFile(r.path(), os.O_WRONLY, 0) // a read-only /proc/sys shows here, before anything is recorded
	if err != nil {
		return fmt.Errorf("sysctl %s: %w", reservedPorts, err)
	}
	if err := r.store(changingRecord(boot, ours, goal)); err != nil {
		return errors.Join(err, file.Close())
	}
	if ours.minus(goal).empty() {
		err = now.add(file, goal.minus(ours))
	} else {
		err = replaceReserved(file, now.ports.minus(ours), goal)
	}
	if err := errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("sysctl %s: %w", reservedPorts, err)
	}
	return r.store(reservedRecord{BootID: boot, Ours: *goal})
}

// Reserved are the ports in the value, whoever put them there.
func (r ReservedPorts) Reserved() ([]frontend.PortRange, error) {
	now, err := readReserved(r.path())
	if err != nil {
		return nil, err
	}
	return now.ports.ranges(), nil
}

// EphemeralRange is net.ipv4.ip_local_port_range: the ports that the kernel gives to sockets that ask for any. Those of
// them that are ours need to be reserved.
func (r ReservedPorts) EphemeralRange() (frontend.PortRange, error) {
	text, err := r.sysctls().read(ephemeralPorts)
	if err != nil {
		return frontend.PortRange{}, err
	}
	var ports frontend.PortRange
	if _, err := fmt.Sscanf(text, "%d %d", &ports.First, &ports.Last); err != nil {
		return frontend.PortRange{}, fmt.Errorf("sysctl %s is %q: %w", ephemeralPorts, text, err)
	}
	return ports, nil
}

func (r ReservedPorts) sysctls() Sysctls { return Sysctls(r) }

func (r ReservedPorts) path() string { return r.sysctls().path(reservedPorts) }
