package traffic

import (
	"cmp"
	"strconv"

	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/sync"
)

// portName is what metrics call a Service port: one name for all its node ports.
type portName struct {
	service  sync.ServiceID
	port     string
	protocol frontend.Protocol
}

func nameOf(ref sync.PortRef) portName {
	port := ref.Name
	if port == "" {
		port = strconv.Itoa(int(ref.Port))
	}
	return portName{service: ref.Service, port: port, protocol: ref.Protocol}
}

// compare orders by Service, port and protocol.
func (n portName) compare(o portName) int {
	return cmp.Or(n.service.Compare(o.service), cmp.Compare(n.port, o.port), cmp.Compare(n.protocol, o.protocol))
}
