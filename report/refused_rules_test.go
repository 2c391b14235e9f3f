package report

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"

	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/filter/filtertest"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
	"github.com/kube-ipvs/kube-ipvs/nodeaddr"
	"github.com/kube-ipvs/kube-ipvs/sync"
)

// given is a source of Services.
type given struct {
	changed  chan struct{}
	services []sync.Service
}

func (s *given) Run(ctx context.Context) error { <-ctx.Done(); return nil }
func (s *given) Changed() <-chan struct{}      { return s.changed }
func (s *given) Changes() sync.Changes         { return sync.Changes{} }
func (s *given) Next() (sync.Update, bool)     { return sync.Update{Services: s.services}, true }

// have are the addresses of a node.
type have []nodeaddr.Address

func (have) Changed() <-chan struct{}                { return nil }
func (a have) Addresses() ([]nodeaddr.Address, bool) { return a, true }

// A restriction that is not in force is no matter of IPVS, and nothing differs there.
func TestWhatNftablesRefusesIsADifference(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spec, err := nodeaddr.ParseSpec([]string{"all"})
		if err != nil {
			t.Fatal(err)
		}
		svc := sync.Service{ID: shopWeb, Families: sync.IPv4, Ports: []sync.ServicePort{{
			Name: "http", Port: 80, NodePort: 30080, Protocol: frontend.TCP,
			Endpoints: []sync.Endpoint{{Addr: netip.MustParseAddrPort("10.244.1.1:8080"), Ready: true, Serving: true}},
		}}}
		source := &given{changed: make(chan struct{}, 1), services: []sync.Service{svc}}
		kernel, nft := ipvsfake.New(), filtertest.New()
		table := filter.New(nft, filter.Options{})
		r := sync.New(logr.Discard(), sync.Config{
			Source: source, Addresses: have{{Addr: onA, Interface: "eth0"}}, Kernel: kernel, Filter: table, PodsByInterface: true,
			NodePortAddresses: spec, Defaults: sync.Defaults{Scheduler: "rr", Masquerade: filter.MasqueradeAll},
			SyncPeriod: time.Hour, DrainTimeout: time.Minute, AddressGrace: time.Minute,
		})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- r.Run(ctx) }()
		defer func() {
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}()
		compare := func() Difference {
			synctest.Wait()
			o, err := r.Overview(ctx)
			if err != nil {
				t.Fatal(err)
			}
			found, err := table.Read(ctx)
			if err != nil {
				t.Fatal(err)
			}
			return Diff("node1", o, kernel.Table(), &found)
		}
		if d := compare(); !d.Same() || d.Compared != 1 {
			t.Fatalf("before there is anything to refuse: %+v", d)
		}
		nft.SetFault(func(string) error { return errors.New("no memory") })
		svc.Sources = filter.NewSources([]netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, nil)
		source.services = []sync.Service{svc}
		source.changed <- struct{}{}
		if d := compare(); d.Same() || len(d.Frontends) != 1 || d.Frontends[0].Waiting == "" || d.Frontends[0].Operations == nil {
			t.Errorf("everybody may connect although the author narrowed it, and the difference is %+v", d)
		}
	})
}

func TestOnlyLeavesWhatDiffersTwice(t *testing.T) {
	first := Difference{Frontends: []FrontendDiff{{Frontend: "a"}, {Frontend: "b"}}, Nftables: []string{"x", "y"}}
	second := Difference{Frontends: []FrontendDiff{{Frontend: "b"}, {Frontend: "c"}}, Nftables: []string{"y", "z"}}
	if d := second.Only(first); len(d.Frontends) != 1 || d.Frontends[0].Frontend != "b" || len(d.Nftables) != 1 || d.Nftables[0] != "y" {
		t.Errorf("it is %+v", d)
	}
}
