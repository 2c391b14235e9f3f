package report

import (
	"strings"
	"testing"
)

func TestWidePortsHaveAllAddresses(t *testing.T) {
	addrs := []string{"10.1.0.10", "10.2.0.10", "10.3.0.10", "10.4.0.10"}
	table, wide := texts(t, Ports{Ports: []PortUse{{Port: 30080, Addresses: addrs, Served: true}}})
	if !strings.Contains(table, "10.1.0.10,10.2.0.10,10.3.0.10 and 1 more") {
		t.Errorf("table:\n%s", table)
	}
	if !strings.Contains(wide, strings.Join(addrs, ",")) {
		t.Errorf("wide:\n%s", wide)
	}
}

func TestAPortIsContestedByRivalsAndByOthers(t *testing.T) {
	for _, c := range []struct {
		use  PortUse
		want bool
	}{
		{PortUse{}, false},
		{PortUse{Rivals: []PortRival{{Namespace: "default", Service: "late"}}}, true},
		{PortUse{Others: []string{"nginx listens there"}}, true},
	} {
		if got := c.use.Contested(); got != c.want {
			t.Errorf("%+v: %v", c.use, got)
		}
	}
}
