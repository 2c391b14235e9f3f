package count

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestEachSymbolCountsForOneThing(t *testing.T) {
	seen := map[string]string{}
	for _, e := range events() {
		for _, s := range e.at {
			if at, ok := seen[s.String()]; ok {
				t.Errorf("%s counts for %s and %s", s, at, e.name)
			}
			seen[s.String()] = e.name
		}
	}
}

// A symbol that is there twice would count twice.
func TestAProbeIsAddedOnce(t *testing.T) {
	e := event{name: "reads", at: in("ip_vs")("get", "get_all"), fetch: "first=+80($arg2):u64"}
	all := strings.Join([]string{
		"p:other/reads ip_vs:get_all",
		"p:kube_ipvs_bench/more_reads ip_vs:get_all",
		e.probe(e.at[0]),
		"r:kube_ipvs_bench/reads ip_vs:get_all",
	}, "\n")
	if d := cmp.Diff([]string{"ip_vs:get_all"}, names(e.missing(all))); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if d := cmp.Diff([]string(nil), names(e.missing(all+"\n"+e.probe(e.at[1])+"\n"))); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func names(symbols []symbol) []string {
	var all []string
	for _, s := range symbols {
		all = append(all, s.String())
	}
	return all
}
