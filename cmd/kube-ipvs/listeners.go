package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/kube-ipvs/kube-ipvs/allocator"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/host"
	"github.com/kube-ipvs/kube-ipvs/sync"
)

// listeners finds the programs of this node, the agent itself left out, that listen on claimed ports. Who holds a socket
// is looked up once: it takes a walk through /proc.
func listeners(list func() ([]host.Listener, error)) func(claimed func(frontend.Protocol, uint16) bool) ([]sync.Listener, error) {
	known := map[uint32]host.Process{}
	return func(claimed func(frontend.Protocol, uint16) bool) ([]sync.Listener, error) {
		all, err := list()
		if err != nil {
			return nil, err
		}
		var found []host.Listener
		var unknown []uint32
		for _, l := range all {
			// A socket that is bound to a device leaves the port of the node's addresses to everybody else, but for
			// requests through that device.
			if l.Device != 0 || !claimed(l.Protocol, l.Port) {
				continue
			}
			found = append(found, l)
			if _, ok := known[l.Inode]; !ok {
				unknown = append(unknown, l.Inode)
			}
		}
		now := make(map[uint32]host.Process, len(found))
		owners := map[uint32]host.Process{}
		if len(unknown) > 0 {
			owners = host.Owners(os.DirFS("/proc"), unknown)
		}
		var others []sync.Listener
		for _, l := range found {
			process, seen := known[l.Inode]
			if !seen {
				process = owners[l.Inode]
			}
			now[l.Inode] = process
			if process.PID == os.Getpid() {
				continue
			}
			others = append(others, sync.Listener{Listener: l, Process: processText(process)})
		}
		known = now
		return others, nil
	}
}

// processText names a process for people; "" if it cannot be seen. Any program may have any name: what would hurt a
// terminal or a log is left out, and what is too long for a message is cut.
func processText(p host.Process) string {
	const longest = 40
	name := []rune(strings.Map(func(r rune) rune {
		if !strconv.IsPrint(r) || r == utf8.RuneError {
			return -1
		}
		return r
	}, p.Name))
	switch {
	case p.PID == 0:
		return ""
	case len(name) == 0:
		return fmt.Sprintf("process %d", p.PID)
	}
	return fmt.Sprintf("%s (process %d)", string(name[:min(len(name), longest)]), p.PID)
}

// reserve keeps ports from programs that ask for any: the API server's whole range, so that none of it is taken before a
// Service comes, and what Services claim outside of it.
func (o *options) reserve(claimed *allocator.Ports) error {
	wanted := new(allocator.Ports).Union(claimed)
	wanted.AddRange(rangeToReserve(o.nodePorts, host.ReservedPorts{}.EphemeralRange))
	ranges := wanted.Ranges()
	list := make([]frontend.PortRange, len(ranges))
	for i, r := range ranges {
		list[i] = portRange(r)
	}
	_, err := host.ReservedPorts{StateDir: o.stateDir}.Set(list)
	switch text := o.overlap(); {
	case err == nil:
		return nil
	case text == "":
		return o.explainReadOnly(err)
	default:
		return fmt.Errorf("%w; %s", o.explainReadOnly(err), text)
	}
}

// portRange is a range as it is called where nothing is given out.
func portRange(r allocator.Range) frontend.PortRange { return frontend.PortRange(r) }

// rangeToReserve is the API server's range, unless that would leave programs fewer than half of the ports that they are
// given from: then only what is claimed is reserved.
func rangeToReserve(nodePorts allocator.Range, given func() (frontend.PortRange, error)) allocator.Range {
	ephemeral, err := given()
	if err != nil {
		return nodePorts
	}
	common, overlap := ephemeral.Overlap(frontend.PortRange(nodePorts))
	if overlap && 2*allocator.Range(common).Size() > allocator.Range(ephemeral).Size() {
		return allocator.Range{First: 1, Last: 0}
	}
	return nodePorts
}

// overlap says that programs may be given node ports as things are; "" if they may not.
func (o *options) overlap() string {
	sysctls := host.ReservedPorts{}
	ephemeral, err := sysctls.EphemeralRange()
	if err != nil {
		return ""
	}
	reserved, err := sysctls.Reserved()
	if err != nil {
		reserved = nil // a kernel without the setting reserves nothing
	}
	exposed := exposedPorts(portRange(o.nodePorts), ephemeral, reserved)
	if exposed.Len() == 0 {
		return ""
	}
	return fmt.Sprintf("node ports %s are among those that the kernel gives to programs that ask for any (net.ipv4.ip_local_port_range %s)", exposed, ephemeral)
}

// exposedPorts are the node ports that the kernel gives to programs that ask for any.
func exposedPorts(nodePorts, ephemeral frontend.PortRange, reserved []frontend.PortRange) *allocator.Ports {
	exposed, kept := new(allocator.Ports), new(allocator.Ports)
	if common, overlap := ephemeral.Overlap(nodePorts); overlap {
		exposed.AddRange(allocator.Range(common))
	}
	for _, r := range reserved {
		kept.AddRange(allocator.Range(r))
	}
	return exposed.Minus(kept)
}
