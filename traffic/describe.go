package traffic

import (
	dto "github.com/prometheus/client_model/go"
)

// Description is what there is to know of a metric family before it has metrics.
type Description struct {
	// Type is counter or gauge.
	Name, Type, Help string
	// Labels are sorted.
	Labels []string
}

// The families that tell of the counting itself.
const (
	readsName, readsHelp     = "kube_ipvs_traffic_reads_total", "Readings of the kernel's counters by kind: virtuals and use are of all at once, reals of one virtual server each."
	errorsName, errorsHelp   = "kube_ipvs_traffic_read_errors_total", "Readings of the kernel's counters that failed."
	leftOutName, leftOutHelp = "kube_ipvs_traffic_left_out", "Service ports and endpoints without metrics of their own, because there are more of them than the limit."
)

// Descriptions are those of all families that a Gatherer has at its highest detail.
func Descriptions() []Description {
	port := []string{"namespace", "port", "protocol", "service"}
	endpoint := append([]string{"endpoint"}, port...)
	all := []Description{
		{Name: readsName, Type: "counter", Help: readsHelp, Labels: []string{"kind"}},
		{Name: errorsName, Type: "counter", Help: errorsHelp},
		{Name: leftOutName, Type: "gauge", Help: leftOutHelp, Labels: []string{"kind"}},
	}
	for _, f := range portFamilies() {
		all = append(all, f.describe(port))
	}
	for _, f := range endpointFamilies() {
		all = append(all, f.describe(endpoint))
	}
	return all
}

// describe is the description of f, whose rows have these labels.
func (f family[R]) describe(labels []string) Description {
	d := Description{Name: f.name, Type: "gauge", Help: f.help, Labels: labels}
	if f.kind == dto.MetricType_COUNTER {
		d.Type = "counter"
	}
	if f.value == nil {
		d.Labels = append([]string{"direction"}, labels...)
	}
	return d
}
