package sync

import (
	"testing"
	"time"

	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

func TestOnePacketIsForUDPThatIsNotMasqueradedAlone(t *testing.T) {
	local := filter.MasqueradePods
	for _, c := range []struct {
		name       string
		change     func(*ServicePort)
		single     bool
		masquerade filter.Masquerade
	}{
		{"rr", func(*ServicePort) {}, true, filter.MasqueradeNone},
		{"wrr", func(p *ServicePort) { p.Scheduler = "wrr" }, true, filter.MasqueradeNone},
		{"not asked for", func(p *ServicePort) { p.OnePacket = false }, false, local},
		{"a scheduler that keeps a sender together", func(p *ServicePort) { p.Scheduler = "mh" }, false, local},
		{"affinity", func(p *ServicePort) { p.Affinity.Timeout = time.Hour }, false, local},
		{"TCP", func(p *ServicePort) { p.Protocol = frontend.TCP }, false, local},
		{"SCTP", func(p *ServicePort) { p.Protocol = frontend.SCTP }, false, local},
		{"endpoints of all nodes", func(p *ServicePort) { p.Policy = Cluster }, false, filter.MasqueradeAll},
		{"no endpoint here, so that the node itself is served by those elsewhere", func(p *ServicePort) {
			p.Endpoints[0].Local = false
		}, false, filter.MasqueradeAll},
	} {
		t.Run(c.name, func(t *testing.T) {
			svc := service("syslog", 30514, "10.244.1.2:514 local")
			port := &svc.Ports[0]
			port.Protocol, port.Policy, port.OnePacket = frontend.UDP, Local, true
			c.change(port)
			s := stateAt(twoNetworks()[:2], svc)
			if len(s.Keys()) != 2 {
				t.Fatalf("served are %v, want one on each address", s.Keys())
			}
			for _, key := range s.Keys() {
				f, _ := s.Want(key)
				if single := f.Entry.Flags&ipvs.OnePacket != 0; single != c.single || f.Masquerade != c.masquerade {
					t.Errorf("%s: one-packet %t, masquerades %s, want %t and %s", key, single, f.Masquerade, c.single, c.masquerade)
				}
				if err := f.Entry.Validate(key); err != nil {
					t.Error(err)
				}
			}
		})
	}
}
