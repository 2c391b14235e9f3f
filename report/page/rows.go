package page

import (
	"strings"
	"time"

	"github.com/kube-ipvs/kube-ipvs/report"
)

type serviceRow struct {
	report.ServiceStatus
	Rows []portRow
}

// portRow is one port of a Service, or the one row of a Service without any.
type portRow struct {
	report.PortStatus
	Exists    bool
	Badge     badge
	Addresses []string
	Hidden    int // addresses that are not shown
}

// EndpointText says how many there are of each use; the ones in use always.
func (r portRow) EndpointText() string {
	parts := []string{number(r.Endpoints) + " in use"}
	if r.Draining > 0 {
		parts = append(parts, number(r.Draining)+" draining")
	}
	if r.Others > 0 {
		parts = append(parts, number(r.Others)+" unused")
	}
	return strings.Join(parts, ", ")
}

func newServiceRow(svc report.ServiceStatus) serviceRow {
	row := serviceRow{ServiceStatus: svc}
	for _, p := range svc.Ports {
		r := portRow{PortStatus: p, Exists: p.NodePort != 0, Badge: newBadge(p.State), Addresses: p.Addresses}
		if len(r.Addresses) > mostAddresses {
			r.Hidden = len(r.Addresses) - mostAddresses
			r.Addresses = r.Addresses[:mostAddresses]
		}
		row.Rows = append(row.Rows, r)
	}
	if len(row.Rows) == 0 {
		row.Rows = []portRow{{Badge: newBadge(svc.State)}}
	}
	return row
}

type addressRow struct {
	report.Address
	Badge badge
	Until *moment
}

// newAddressRow says of an address whether it serves. One that does not is nothing bad: most nodes have some.
func newAddressRow(a report.Address, now time.Time) addressRow {
	row := addressRow{Address: a, Badge: badge{good, "serves"}, Until: newMoment(a.Until, now)}
	switch {
	case !a.Serves:
		row.Badge = badge{off, "does not serve"}
	case a.Reason != "":
		row.Badge.Level = warn
	}
	return row
}
