// Package ipvsfake is a model of the kernel's IPVS table for tests that have no kernel.
//
// It answers with the errnos that Linux 6.1 gave when it was asked the same, has the same side effects, and accepts
// what the kernel accepts although it makes no sense (protocol ICMP, port 0), so that only the validation of package
// ipvs can keep that out. The contract suite of package ipvstest runs on it and on a real kernel: where they disagree,
// this package is wrong. Faulty wraps any handle and makes calls fail.
//
// What it does not know: the node's routes (the kernel refuses the broadcast addresses of its networks as real
// servers), the connection synchronisation daemon, time.
package ipvsfake

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

// Kernel is a handle on a table that lives in memory. Several handles may share one table, see Open.
type Kernel struct {
	*namespace
	closed bool // Guarded by namespace.mu.
}

var _ ipvs.Handle = (*Kernel)(nil)

// namespace is what IPVS keeps for one network namespace.
type namespace struct {
	mu         sync.Mutex
	table      ipvs.Table
	schedulers map[string]bool
	timeouts   ipvs.Timeouts
	writes     int
	absent     bool // the module is not loaded, and cannot be
	// connections are kept when a real server is deleted, as the kernel's trash list keeps them: the same real server
	// added again has them again.
	connections map[server]ipvs.Connections
	// counters are those of virtual servers that traffic has passed through, and of their real servers.
	counters map[frontend.Key]*counted
	reads    StatReads
}

type server struct {
	key  frontend.Key
	addr netip.AddrPort
}

// Option is a way in which a kernel differs from a freshly booted one with all schedulers.
type Option func(*namespace)

// WithSchedulers limits the schedulers that the kernel has, or can load, to these.
func WithSchedulers(names ...string) Option {
	return func(n *namespace) {
		n.schedulers = map[string]bool{}
		for _, name := range names {
			n.schedulers[name] = true
		}
	}
}

// WithTable lets the kernel begin with a copy of this table, whatever is in it.
func WithTable(t ipvs.Table) Option {
	return func(n *namespace) { n.table = t.Clone() }
}

// New is a kernel with an empty table, the timeouts of Linux and its schedulers.
func New(opts ...Option) *Kernel {
	n := &namespace{}
	n.empty()
	WithSchedulers("rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh", "twos")(n)
	for _, o := range opts {
		o(n)
	}
	return &Kernel{namespace: n}
}

// empty is what IPVS begins with.
func (n *namespace) empty() {
	n.table = ipvs.Table{}
	n.timeouts = ipvs.Timeouts{TCP: 15 * time.Minute, TCPFin: 2 * time.Minute, UDP: 5 * time.Minute}
	n.connections, n.counters = map[server]ipvs.Connections{}, map[frontend.Key]*counted{}
}

// Unload takes module ip_vs away, with all that it has, and lets nobody load it: calls fail with ErrNoIPVS, until Load.
func (k *Kernel) Unload() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.empty()
	k.absent = true
}

// Load is the module as it is after a boot. Handles that were open before are as good as new ones.
func (k *Kernel) Load() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.absent = false
}

// Open is another handle on the same table, open even if k is closed: what a new process gets after a restart.
func (k *Kernel) Open() *Kernel { return &Kernel{namespace: k.namespace} }

// String is the table in its text form.
func (k *Kernel) String() string { return k.Table().String() }

// Table is a copy of the whole table, also when the handle is closed.
func (k *Kernel) Table() ipvs.Table {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.table.Clone()
}

// Writes counts the operations and changes of timeouts that were asked for, by any handle and with any result.
func (k *Kernel) Writes() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.writes
}

// SetConnections lets a real server have connections. It need not exist: they wait for it.
func (k *Kernel) SetConnections(key frontend.Key, addr netip.AddrPort, c ipvs.Connections) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.connections[server{key, addr}] = c
}

// List implements ipvs.Handle.
func (k *Kernel) List(ctx context.Context) (ipvs.Table, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.usable(ctx); err != nil {
		return nil, fmt.Errorf("ipvs: list: %w", err)
	}
	return k.table.Clone(), nil
}

// Virtuals implements ipvs.Handle.
func (k *Kernel) Virtuals(ctx context.Context) (map[frontend.Key]ipvs.VirtualServer, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.usable(ctx); err != nil {
		return nil, fmt.Errorf("ipvs: list virtual servers: %w", err)
	}
	virtuals := make(map[frontend.Key]ipvs.VirtualServer, len(k.table))
	for key, e := range k.table {
		virtuals[key] = e.VirtualServer
	}
	return virtuals, nil
}

// SameReals implements ipvs.Handle.
func (k *Kernel) SameReals(ctx context.Context, key frontend.Key, reals map[netip.AddrPort]ipvs.RealServer, each func(netip.AddrPort, ipvs.Connections)) (bool, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.usable(ctx); err != nil {
		return false, fmt.Errorf("ipvs: compare %s: %w", key, err)
	}
	there := k.table[key].Reals
	if each != nil {
		for addr := range there {
			each(addr, k.connections[server{key, addr}])
		}
	}
	return maps.Equal(there, reals), nil
}

// Get implements ipvs.Handle.
func (k *Kernel) Get(ctx context.Context, key frontend.Key) (ipvs.Entry, map[netip.AddrPort]ipvs.Connections, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.usable(ctx); err != nil {
		return ipvs.Entry{}, nil, fmt.Errorf("ipvs: get %s: %w", key, err)
	}
	e, exists := k.table[key]
	if !exists {
		return ipvs.Entry{}, nil, fmt.Errorf("ipvs: get %s: %w", key, syscall.ESRCH)
	}
	connections := make(map[netip.AddrPort]ipvs.Connections, len(e.Reals))
	for addr := range e.Reals {
		connections[addr] = k.connections[server{key, addr}]
	}
	return e.Clone(), connections, nil
}

// Do implements ipvs.Handle.
func (k *Kernel) Do(ctx context.Context, ops []ipvs.Op) []error {
	k.mu.Lock()
	defer k.mu.Unlock()
	results := make([]error, len(ops))
	for i, op := range ops {
		err := k.usable(ctx)
		if err == nil {
			k.writes++
			err = k.do(op)
		}
		if err != nil {
			results[i] = &ipvs.OpError{Op: op, Err: err}
		}
	}
	return results
}

// Timeouts implements ipvs.Handle.
func (k *Kernel) Timeouts(ctx context.Context) (ipvs.Timeouts, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.usable(ctx); err != nil {
		return ipvs.Timeouts{}, fmt.Errorf("ipvs: get timeouts: %w", err)
	}
	return k.timeouts, nil
}

// SetTimeouts implements ipvs.Handle.
func (k *Kernel) SetTimeouts(ctx context.Context, t ipvs.Timeouts) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.usable(ctx); err != nil {
		return fmt.Errorf("ipvs: set timeouts: %w", err)
	}
	k.writes++
	for _, d := range []time.Duration{t.TCP, t.TCPFin, t.UDP} {
		if d < 0 || d.Truncate(time.Second) != d {
			return fmt.Errorf("ipvs: set timeouts: %w", syscall.EINVAL)
		}
	}
	replace := func(have *time.Duration, want time.Duration) {
		if want != 0 {
			*have = want
		}
	}
	replace(&k.timeouts.TCP, t.TCP)
	replace(&k.timeouts.TCPFin, t.TCPFin)
	replace(&k.timeouts.UDP, t.UDP)
	return nil
}

// ProbeScheduler implements ipvs.Handle.
func (k *Kernel) ProbeScheduler(ctx context.Context, name string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	err := k.usable(ctx)
	if err == nil && !k.hasScheduler(name) {
		err = syscall.ENOENT
	}
	if err != nil {
		op := ipvs.Op{Verb: ipvs.AddVirtual, Virtual: ipvs.VirtualServer{Scheduler: name}}
		return &ipvs.OpError{Op: op, Err: err}
	}
	return nil
}

// Close implements ipvs.Handle. The table stays.
func (k *Kernel) Close() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return os.ErrClosed
	}
	k.closed = true
	return nil
}

// Schedulers lists the schedulers that the kernel has, sorted.
func (k *Kernel) Schedulers() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Sorted(maps.Keys(k.schedulers))
}

func (k *Kernel) usable(ctx context.Context) error {
	if k.closed {
		return os.ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if k.absent {
		return ipvs.ErrNoIPVS
	}
	return nil
}
