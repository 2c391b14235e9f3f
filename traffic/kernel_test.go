package traffic

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	stdsync "sync"
	"testing"

	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/sync"
)

// kernel is an IPVS table that counts, and what of it is served for whom.
type kernel struct {
	mu       stdsync.Mutex
	virtuals map[frontend.Key]ipvs.Counters
	reals    map[frontend.Key]map[netip.AddrPort]ipvs.RealStats
	served   map[frontend.Key]sync.Served
	// err is what every reading fails with, realsErr what that of these real servers does.
	err      error
	realsErr map[frontend.Key]error
	// overlooked are the virtual servers that the list of real servers is without.
	overlooked map[frontend.Key]bool
	// asked are the virtual servers whose real servers were read.
	asked []frontend.Key
	dumps int
	// during is called in each dump of virtual servers, without the lock.
	during func(context.Context) error
}

func newKernel() *kernel {
	return &kernel{
		virtuals: map[frontend.Key]ipvs.Counters{}, reals: map[frontend.Key]map[netip.AddrPort]ipvs.RealStats{},
		served: map[frontend.Key]sync.Served{}, realsErr: map[frontend.Key]error{},
	}
}

// serve makes a virtual server for a Service port, with endpoints.
func (k *kernel) serve(key frontend.Key, ref sync.PortRef, endpoints ...netip.AddrPort) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.served[key] = sync.Served{PortRef: ref}
	if _, exists := k.virtuals[key]; !exists {
		k.virtuals[key] = ipvs.Counters{}
		k.reals[key] = map[netip.AddrPort]ipvs.RealStats{}
	}
	for _, addr := range endpoints {
		if _, exists := k.reals[key][addr]; !exists {
			k.reals[key][addr] = ipvs.RealStats{RealServer: ipvs.RealServer{Weight: 1}}
		}
	}
}

// remove deletes a virtual server that is served no more.
func (k *kernel) remove(key frontend.Key) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.served, key)
	delete(k.virtuals, key)
	delete(k.reals, key)
}

// set changes a real server.
func (k *kernel) set(key frontend.Key, addr netip.AddrPort, change func(*ipvs.RealStats)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	r := k.reals[key][addr]
	change(&r)
	k.reals[key][addr] = r
}

// drop deletes a real server.
func (k *kernel) drop(key frontend.Key, addr netip.AddrPort) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.reals[key], addr)
}

// connect counts n connections of 10 packets of 100 bytes in, and 20 of 1,000 bytes out.
func (k *kernel) connect(key frontend.Key, addr netip.AddrPort, n uint64) {
	d := connections(n)
	k.set(key, addr, func(r *ipvs.RealStats) { r.Counters = plus(r.Counters, d) })
	k.mu.Lock()
	defer k.mu.Unlock()
	k.virtuals[key] = plus(k.virtuals[key], d)
}

func connections(n uint64) ipvs.Counters {
	return ipvs.Counters{Connections: n, InPackets: 10 * n, InBytes: 1000 * n, OutPackets: 20 * n, OutBytes: 20000 * n}
}

func (k *kernel) serving() map[frontend.Key]sync.Served {
	k.mu.Lock()
	defer k.mu.Unlock()
	return maps.Clone(k.served)
}

func (k *kernel) Virtuals(ctx context.Context) (map[frontend.Key]ipvs.Counters, error) {
	k.mu.Lock()
	k.dumps++
	during := k.during
	k.mu.Unlock()
	if during != nil {
		if err := during(ctx); err != nil {
			return nil, err
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return maps.Clone(k.virtuals), k.err
}

func (k *kernel) Reals(_ context.Context, key frontend.Key) (map[netip.AddrPort]ipvs.RealStats, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.asked = append(k.asked, key)
	if err := k.realsErr[key]; err != nil {
		return nil, err
	}
	return maps.Clone(k.reals[key]), k.err
}

func (k *kernel) Use(context.Context) (map[frontend.Key]map[netip.AddrPort]ipvs.RealUse, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	use := make(map[frontend.Key]map[netip.AddrPort]ipvs.RealUse, len(k.reals))
	for key, reals := range k.reals {
		m := make(map[netip.AddrPort]ipvs.RealUse, len(reals))
		for addr, r := range reals {
			m[addr] = ipvs.RealUse{Weight: r.Weight, Connections: r.Connections}
		}
		if !k.overlooked[key] {
			use[key] = m
		}
	}
	return use, k.err
}

// answer has during called in each dump from now on.
func (k *kernel) answer(during func(context.Context) error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.during = during
}

func (*kernel) Close() error { return nil }

// questions are the virtual servers asked for their real servers since the last call.
func (k *kernel) questions() []frontend.Key {
	k.mu.Lock()
	defer k.mu.Unlock()
	asked := k.asked
	k.asked = nil
	return asked
}

// virtualServer is port nodePort of the n-th address of the node.
func virtualServer(n byte, nodePort uint16) frontend.Key {
	return frontend.NewKey(netip.AddrFrom4([4]byte{10, n, 0, 10}), frontend.TCP, nodePort)
}

// endpoint is port 8080 of a pod.
func endpoint(pod byte) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 244, 1, pod}), 8080)
}

// web is a port of Service default/NAME.
func web(name string, nodePort uint16) sync.PortRef {
	return sync.PortRef{Service: sync.ServiceID{Namespace: "default", Name: name}, Name: "http", Port: 80, NodePort: nodePort, Protocol: frontend.TCP}
}

// busy is a kernel with so many Services of ten endpoints on two addresses, all with traffic.
func busy(services int) *kernel {
	k := newKernel()
	for i := range services {
		ref := web(fmt.Sprintf("service-%d", i), uint16(20000+i))
		for a := range byte(2) {
			key := virtualServer(a+1, ref.NodePort)
			k.serve(key, ref)
			for n := range 10 {
				addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), byte(n)}), 8080)
				k.set(key, addr, func(r *ipvs.RealStats) {
					r.Weight, r.Active, r.Inactive = 1, uint32(n+2), uint32(i)
				})
				k.connect(key, addr, uint64(1_000_000+i*n))
			}
		}
	}
	return k
}

// answers has the kernel answer all that a round asks at least.
func (k *kernel) answers(tb testing.TB) {
	tb.Helper()
	k.serving()
	_, err := k.Virtuals(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	if _, err = k.Use(tb.Context()); err != nil {
		tb.Fatal(err)
	}
}

func sampleNow(tb testing.TB, m *Meter) Sample {
	tb.Helper()
	s, err := m.Sample(tb.Context(), 0)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}
