package ipvstest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"sync"

	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

// statsOfTheTable is what a reader tells without any traffic.
func statsOfTheTable() []counting {
	return []counting{
		{"an empty table has nothing to count, and real servers of a missing virtual server are none", func(c counter) {
			c.tells(ipvs.Table{})
			if got := c.reals(key4()); len(got) != 0 {
				c.Errorf("Reals: %v", got)
			}
		}},
		{"every virtual and real server is there with its configuration, at zero", func(c counter) {
			want := ipvs.Table{}
			for _, addr := range []string{"10.1.0.10", "10.2.0.10", "fd01::10"} {
				for _, p := range frontend.Protocols() {
					k, real := frontend.NewKey(netip.MustParseAddr(addr), p, 30080), real4
					if k.Addr.Is6() {
						real = real6
					}
					limited := ipvs.RealServer{Weight: 70000, UpperThreshold: 20, LowerThreshold: 10}
					c.must(addVirtual(k, rr()), addReal(k, real(1), weight(0)), addReal(k, real(2), limited))
					want[k] = entry(rr(), map[netip.AddrPort]ipvs.RealServer{real(1): weight(0), real(2): limited})
				}
			}
			c.tells(want)
		}},
		{"what is deleted is not told any more", func(c counter) {
			c.must(addVirtual(key4(), rr()), addReal(key4(), real4(1), weight(1)), addReal(key4(), real4(2), weight(2)))
			c.must(addVirtual(key6(), rr()), delReal(key4(), real4(1)), delVirtual(key6()))
			c.tells(ipvs.Table{key4(): entry(rr(), map[netip.AddrPort]ipvs.RealServer{real4(2): weight(2)})})
		}},
		{"more than one answer holds is read whole", func(c counter) {
			want := ipvs.Table{}
			many := map[netip.AddrPort]ipvs.RealServer{}
			ops := []ipvs.Op{addVirtual(key4(), rr())}
			for n := range 1500 {
				k := frontend.NewKey(key6().Addr, frontend.UDP, uint16(n+1))
				want[k], many[real4(n+1)] = entry(rr(), nil), weight(uint32(n+1))
				ops = append(ops, addVirtual(k, rr()), addReal(key4(), real4(n+1), weight(uint32(n+1))))
			}
			c.must(ops...)
			want[key4()] = entry(rr(), many)
			c.tells(want)
		}},
	}
}

// statsOfTraffic is what traffic counts for, and how long.
func statsOfTraffic() []counting {
	return []counting{
		{"connections, packets and bytes count for the real server and its virtual server", func(c counter) {
			keys := []frontend.Key{key4(), key6(), key("udp://10.1.0.10:30080"), key("udp://[fd01::10]:30080")}
			for i, k := range keys {
				c.served(k, 1)
				c.served(k, 2)
				c.pass(k, 1, i+1)
			}
			for i, k := range keys {
				n := uint64(i + 1)
				c.counts(k, n, 0, map[netip.AddrPort]uint64{realOf(k, 1): n, realOf(k, 2): 0})
			}
		}},
		{"connections of the moment are the same in Use and in Reals", func(c counter) {
			c.served(key4(), 1)
			c.served(key6(), 1)
			c.traffic.Hold(c.T, key4(), real4(1))
			c.pass(key4(), 1, 2)
			c.pass(key6(), 1, 1)
			for k, want := range map[frontend.Key]ipvs.Connections{key4(): {Active: 1, Inactive: 2}, key6(): {Inactive: 1}} {
				var use ipvs.RealUse
				var stats ipvs.RealStats
				c.soon(func() bool {
					use, stats = c.use()[k][realOf(k, 1)], c.reals(k)[realOf(k, 1)]
					return use == ipvs.RealUse{Weight: 1, Connections: want} && stats.Connections == want
				}, func() string { return fmt.Sprintf("%s: Use %+v, Reals %+v, want %+v", k, use, stats, want) })
			}
		}},
		{"connections of the moment are the same to whoever compares real servers and to whoever gets them", func(c counter) {
			for k, want := range map[frontend.Key]ipvs.Connections{
				key4(): {Active: 1, Inactive: 2}, key6(): {Active: 1, Inactive: 1},
				key("udp://10.1.0.10:30080"): {Inactive: 2}, key("udp://[fd01::10]:30080"): {Inactive: 1},
			} {
				c.served(k, 1)
				c.served(k, 2)
				c.pass(k, 1, int(want.Inactive))
				if want.Active > 0 {
					c.traffic.Hold(c.T, k, realOf(k, 1))
				}
				both := map[netip.AddrPort]ipvs.Connections{realOf(k, 1): want, realOf(k, 2): {}}
				var compared, got map[netip.AddrPort]ipvs.Connections
				c.soon(func() bool {
					compared, got = c.connections(k)
					return maps.Equal(compared, both) && maps.Equal(got, both)
				}, func() string { return fmt.Sprintf("%s: SameReals %+v, Get %+v, want %+v", k, compared, got, both) })
			}
		}},
		{"a change of weight, scheduler or timeout keeps what was counted", func(c counter) {
			c.served(key4(), 1)
			c.pass(key4(), 1, 2)
			c.must(setReal(key4(), real4(1), weight(9)), setVirtual(key4(), ipvs.VirtualServer{Scheduler: "wrr"}))
			c.counts(key4(), 2, 0, map[netip.AddrPort]uint64{real4(1): 2})
		}},
		{"a virtual server goes on counting when a real server goes", func(c counter) {
			c.served(key4(), 1)
			c.pass(key4(), 1, 2)
			c.must(delReal(key4(), real4(1)))
			c.served(key4(), 2)
			c.pass(key4(), 2, 3)
			c.counts(key4(), 5, 2, map[netip.AddrPort]uint64{real4(2): 3})
		}},
		{"a real server that comes back at once goes on where it was", func(c counter) {
			c.served(key4(), 1)
			c.pass(key4(), 1, 2)
			c.counts(key4(), 2, 0, map[netip.AddrPort]uint64{real4(1): 2})
			c.must(delReal(key4(), real4(1)))
			c.served(key4(), 1)
			c.counts(key4(), 2, 0, map[netip.AddrPort]uint64{real4(1): 2})
			c.pass(key4(), 1, 1)
			c.counts(key4(), 3, 0, map[netip.AddrPort]uint64{real4(1): 3})
		}},
		{"a virtual server that is made anew begins at zero, and so do real servers that come back to it", func(c counter) {
			c.served(key4(), 1)
			c.pass(key4(), 1, 2)
			c.counts(key4(), 2, 0, map[netip.AddrPort]uint64{real4(1): 2})
			c.must(delVirtual(key4()))
			c.served(key4(), 1)
			c.pass(key4(), 1, 1)
			c.counts(key4(), 1, 0, map[netip.AddrPort]uint64{real4(1): 1})
		}},
	}
}

// connections are what the handle tells of them as it compares a virtual server with what it has, and as it gets it.
func (c counter) connections(k frontend.Key) (compared, got map[netip.AddrPort]ipvs.Connections) {
	c.Helper()
	entry, got, err := c.Get(c.Context(), k)
	if err != nil {
		c.Fatal(err)
	}
	compared = map[netip.AddrPort]ipvs.Connections{}
	same, err := c.SameReals(c.Context(), k, entry.Reals, func(addr netip.AddrPort, n ipvs.Connections) { compared[addr] = n })
	if !same || err != nil {
		c.Fatalf("%s has not what it has: %v", k, err)
	}
	return compared, got
}

// served makes a virtual server and its n-th real server the one that gets traffic.
func (c counter) served(k frontend.Key, n int) {
	c.Helper()
	if _, exists := c.list()[k]; !exists {
		c.must(addVirtual(k, rr()))
	}
	c.must(addReal(k, realOf(k, n), weight(1)))
}

// pass lets connections pass to the n-th real server, which is the only one with a weight meanwhile.
func (c counter) pass(k frontend.Key, n, connections int) {
	c.Helper()
	for addr := range c.get(k).Reals {
		c.must(setReal(k, addr, weight(0)))
	}
	c.must(setReal(k, realOf(k, n), weight(1)))
	c.traffic.Pass(c.T, k, realOf(k, n), connections)
}

func realOf(k frontend.Key, n int) netip.AddrPort {
	if k.Addr.Is6() {
		return real6(n)
	}
	return real4(n)
}

// statsLifetime is what reads do after the end of their context or of the reader, and beside others.
func statsLifetime() []counting {
	return []counting{
		{"reads fail after Close, which leaves the handle alone", func(c counter) {
			if err := c.reader.Close(); err != nil {
				c.Fatal(err)
			}
			for name, err := range c.reads(c.Context()) {
				if !errors.Is(err, os.ErrClosed) {
					c.Errorf("%s: %v, want %v", name, err, os.ErrClosed)
				}
			}
			if err := c.reader.Close(); !errors.Is(err, os.ErrClosed) {
				c.Errorf("Close: %v, want %v", err, os.ErrClosed)
			}
			c.has(ipvs.Table{})
		}},
		{"reads fail with the error of their context once it has ended, and the next ones work", func(c counter) {
			ctx, cancel := context.WithCancel(c.Context())
			cancel()
			for name, err := range c.reads(ctx) {
				if !errors.Is(err, context.Canceled) {
					c.Errorf("%s: %v, want %v", name, err, context.Canceled)
				}
			}
			c.tells(ipvs.Table{})
		}},
		{"a reader goes on when its handle is closed", func(c counter) {
			c.must(addVirtual(key4(), rr()))
			if err := c.Close(); err != nil {
				c.Fatal(err)
			}
			c.tells(ipvs.Table{key4(): entry(rr(), nil)})
		}},
		{"reads from several goroutines disturb neither each other nor who writes", manyReaders},
	}
}

func (c counter) reads(ctx context.Context) map[string]error {
	_, virtuals := c.reader.Virtuals(ctx)
	_, reals := c.reader.Reals(ctx, key4())
	_, use := c.reader.Use(ctx)
	return map[string]error{"Virtuals": virtuals, "Reals": reals, "Use": use}
}

// manyReaders reads what stays while something else comes and goes.
func manyReaders(c counter) {
	c.must(addVirtual(key4(), rr()), addReal(key4(), real4(1), weight(7)))
	want := ipvs.RealStats{RealServer: weight(7)}
	var wait sync.WaitGroup
	for range 4 {
		wait.Go(func() {
			for range 10 {
				reals, err := c.reader.Reals(c.Context(), key4())
				if err != nil || len(reals) != 1 || reals[real4(1)] != want {
					c.Errorf("Reals: %v, %v", reals, err)
				}
				for name, err := range c.reads(c.Context()) {
					if err != nil {
						c.Errorf("%s: %v", name, err)
					}
				}
			}
		})
	}
	for range 20 {
		c.must(addVirtual(key6(), rr()), addReal(key6(), real6(1), weight(1)), delVirtual(key6()))
	}
	wait.Wait()
	c.tells(ipvs.Table{key4(): entry(rr(), map[netip.AddrPort]ipvs.RealServer{real4(1): weight(7)})})
}
