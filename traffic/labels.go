package traffic

import (
	"strings"

	dto "github.com/prometheus/client_model/go"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// labels are the label pairs of one row, sorted by name as encoders want them, for all its metrics: in and out begin with the
// direction.
type labels struct {
	in, out []*dto.LabelPair
}

// none are those without a direction.
func (l labels) none() []*dto.LabelPair { return l.in[1:] }

// labeler makes label pairs, many of them in one piece of memory.
type labeler struct {
	names     map[string]*string
	protocols map[frontend.Protocol]string
	in, out   *dto.LabelPair
}

func newLabeler() labeler {
	l := labeler{names: map[string]*string{}, protocols: map[frontend.Protocol]string{}}
	for _, p := range frontend.Protocols() {
		l.protocols[p] = strings.ToUpper(p.String())
	}
	for _, name := range []string{"direction", "endpoint", "kind", "namespace", "port", "protocol", "service"} {
		l.names[name] = &name
	}
	l.in, l.out = l.pair("direction", "in"), l.pair("direction", "out")
	return l
}

func (l labeler) pair(name, value string) *dto.LabelPair {
	return &dto.LabelPair{Name: l.names[name], Value: &value}
}

// ports gives Service ports their labels.
func (l labeler) ports(rows []portRow) {
	const each = 4
	values := make([]string, each*len(rows))
	pairs := make([]dto.LabelPair, each*len(rows))
	pointers := make([]*dto.LabelPair, 2*(1+each)*len(rows))
	for i := range rows {
		r := &rows[i]
		r.labels.in, pointers = pointers[:1+each:1+each], pointers[1+each:]
		r.labels.out, pointers = pointers[:1+each:1+each], pointers[1+each:]
		r.labels.in[0], r.labels.out[0] = l.in, l.out
		values[0], values[1] = r.name.service.Namespace, r.name.port
		values[2], values[3] = l.protocols[r.name.protocol], r.name.service.Name
		for n, name := range [each]string{"namespace", "port", "protocol", "service"} {
			pairs[n].Name, pairs[n].Value = l.names[name], &values[n]
			r.labels.in[1+n], r.labels.out[1+n] = &pairs[n], &pairs[n]
		}
		values, pairs = values[each:], pairs[each:]
	}
}

// endpoints gives endpoints their labels: those of their Service port, and their own.
func (l labeler) endpoints(rows []endpointRow) {
	const each = 6
	values := make([]string, len(rows))
	pairs := make([]dto.LabelPair, len(rows))
	pointers := make([]*dto.LabelPair, 2*each*len(rows))
	addresses(rows, values)
	for i := range rows {
		r := &rows[i]
		pairs[i].Name, pairs[i].Value = l.names["endpoint"], &values[i]
		r.labels.in, pointers = pointers[:each:each], pointers[each:]
		r.labels.out, pointers = pointers[:each:each], pointers[each:]
		for _, dst := range [][]*dto.LabelPair{r.labels.in, r.labels.out} {
			dst[1] = &pairs[i]
			copy(dst[2:], r.port.labels.none())
		}
		r.labels.in[0], r.labels.out[0] = l.in, l.out
	}
}

// addresses writes the endpoints' addresses, all in one string.
func addresses(rows []endpointRow, values []string) {
	const typical = len("100.100.100.100:10000")
	buf := make([]byte, 0, typical*len(rows))
	ends := make([]int, len(rows))
	for i := range rows {
		buf = rows[i].addr.AppendTo(buf)
		ends[i] = len(buf)
	}
	all, begin := string(buf), 0
	for i, end := range ends {
		values[i], begin = all[begin:end], end
	}
}
