package report

import (
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/kube-ipvs/kube-ipvs/sync"
)

// Ports is who has which port of a node.
type Ports struct {
	Node    string     `json:"node"`
	Ports   []PortUse  `json:"ports"`
	Bands   []PortBand `json:"bands"`
	Suggest []uint16   `json:"suggest"` // free ports of the static band, as many as were asked for
}

// PortUse is what one Service has of a port.
type PortUse struct {
	Port      uint16      `json:"port"`
	Protocol  string      `json:"protocol"`
	Kind      string      `json:"kind"` // node port, health check or extra port
	Band      string      `json:"band"` // static, dynamic or outside
	Namespace string      `json:"namespace"`
	Service   string      `json:"service"`
	Addresses []string    `json:"addresses"`
	Served    bool        `json:"served"`
	Rivals    []PortRival `json:"rivals"` // who claims it too, the next holder first
	Others    []string    `json:"others"` // programs of the node, virtual servers of others
}

// PortRival is a Service that claims a port that another one has.
type PortRival struct {
	Namespace string `json:"namespace"`
	Service   string `json:"service"`
	Kind      string `json:"kind"`
}

// PortBand is how much of a band of node ports is taken.
type PortBand struct {
	Band    string  `json:"band"`
	Range   string  `json:"range"`
	Size    int     `json:"size"`
	Taken   int     `json:"taken"`
	Percent float64 `json:"percent"`
}

// NewPorts is the document of a node, with up to suggest ports that are free.
func NewPorts(node string, v sync.PortsView, suggest int) Ports {
	p := Ports{Node: node, Ports: []PortUse{}, Bands: []PortBand{}, Suggest: append([]uint16{}, v.Suggest(suggest)...)}
	for _, u := range v.Ports {
		p.Ports = append(p.Ports, portUse(u))
	}
	for _, b := range v.Bands {
		p.Bands = append(p.Bands, PortBand{
			Band: b.Band.String(), Range: b.Range.String(), Size: b.Range.Size(), Taken: b.Taken,
			Percent: float64(1000*b.Taken/b.Range.Size()) / 10,
		})
	}
	return p
}

func portUse(v sync.PortUse) PortUse {
	u := PortUse{
		Port: v.Port, Protocol: strings.ToUpper(v.Protocol.String()), Kind: v.Kind.String(), Band: v.Band.String(),
		Namespace: v.Owner.Namespace, Service: v.Owner.Name, Served: v.Served,
		Addresses: []string{}, Rivals: []PortRival{}, Others: append([]string{}, v.Others...),
	}
	for _, a := range v.Addresses {
		u.Addresses = append(u.Addresses, a.String())
	}
	for _, r := range v.Rivals {
		u.Rivals = append(u.Rivals, PortRival{r.Service.Namespace, r.Service.Name, r.Kind.String()})
	}
	return u
}

// Contested reports whether somebody else wants the port or is on it.
func (u PortUse) Contested() bool { return len(u.Rivals)+len(u.Others) > 0 }

// Table has one line for each row; wide has all addresses.
func (p Ports) Table(w io.Writer, wide bool) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Node %s\n", sync.Printable(p.Node))
	for _, band := range p.Bands {
		fmt.Fprintf(&b, "  %-7s band %s: %d of %d ports taken (%.1f %%)\n", band.Band, band.Range, band.Taken, band.Size, band.Percent)
	}
	b.WriteByte('\n')
	if len(p.Ports) == 0 {
		b.WriteString("No Service claims a port of this node.\n")
	}
	most := shownAddresses
	if wide {
		most = math.MaxInt
	}
	c := newColumns(&b)
	for i, u := range p.Ports {
		if i == 0 {
			c.row("PORT", "KIND", "BAND", "SERVICE", "ADDRESSES", "ALSO THERE")
		}
		c.row(fmt.Sprintf("%d/%s", u.Port, strings.ToLower(u.Protocol)), u.Kind, u.Band, u.Namespace+"/"+u.Service, addressList(u.Addresses, most), u.alsoThere())
	}
	c.flush()
	_, err := io.WriteString(w, b.String())
	return err
}

// shownAddresses is how many addresses stand in one line of the table.
const shownAddresses = 3

// addressList has up to most addresses.
func addressList(addrs []string, most int) string {
	if len(addrs) <= most {
		return strings.Join(addrs, ",")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(addrs[:most], ","), len(addrs)-most)
}

// alsoThere are rivals and others, for people.
func (u PortUse) alsoThere() string {
	var texts []string
	for _, r := range u.Rivals {
		texts = append(texts, fmt.Sprintf("Service %s/%s wants it (%s)", r.Namespace, r.Service, r.Kind))
	}
	for _, other := range u.Others {
		if !u.Served {
			other = "not served: " + other
		}
		texts = append(texts, other)
	}
	if len(texts) == 0 {
		return "-"
	}
	return strings.Join(texts, "; ")
}
