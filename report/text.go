package report

import (
	"net/netip"
	"strings"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// protocolText is a protocol as Kubernetes writes it.
func protocolText(p frontend.Protocol) string { return strings.ToUpper(p.String()) }

// keyText is a frontend as people write it: 10.1.0.10:30080/tcp.
func keyText(key frontend.Key) string {
	return netip.AddrPortFrom(key.Addr, key.Port).String() + "/" + key.Protocol.String()
}
