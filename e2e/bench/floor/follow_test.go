package floor

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/google/go-cmp/cmp"

	"github.com/kube-ipvs/kube-ipvs/e2e/bench/objects"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
)

func TestAFollowerWritesTheNewRealServerAndDrainsTheOldOneBehindAllAddresses(t *testing.T) {
	plan := objects.Plan{Sizes: []int{3}, Endpoints: 2, Seed: 1}
	fresh, fresher := plan.Endpoint(1, 2), plan.Endpoint(1, 3)
	var events string
	for _, real := range []netip.AddrPort{fresh, fresher} {
		changed := plan.Slice(1)
		changed.Endpoints[0].Addresses = []string{real.Addr().String()}
		events += event(t, "MODIFIED", changed)
	}
	h := ipvsfake.New(ipvsfake.WithSchedulers(scheduler))
	err := follow(t.Context(), h, serve(t, plan, events), plan)
	if err == nil || !strings.Contains(err.Error(), io.EOF.Error()) {
		t.Fatalf("it ended with %v, want the end of its watch", err)
	}
	want := tableOf(plan, 3)
	for _, key := range plan.Frontends(1) {
		want[key] = ipvs.Entry{VirtualServer: want[key].VirtualServer, Reals: map[netip.AddrPort]ipvs.RealServer{
			plan.Endpoint(1, 0): {}, plan.Endpoint(1, 1): {Weight: 1}, fresh: {}, fresher: {Weight: 1},
		}}
	}
	have, err := h.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want.String(), have.String()); diff != "" {
		t.Errorf("(-want +have):\n%s", diff)
	}
}

func TestAFollowerEndsWithWhatItDoesNotUnderstand(t *testing.T) {
	plan := objects.Plan{Sizes: []int{1}, Endpoints: 1, Seed: 1}
	for _, event := range []string{`{"type":"ERROR","object":{"code":410}}` + "\n", "no event\n"} {
		h := ipvsfake.New(ipvsfake.WithSchedulers(scheduler))
		if err := follow(t.Context(), h, serve(t, plan, event), plan); err == nil || strings.Contains(err.Error(), io.EOF.Error()) {
			t.Errorf("%q: it ended with %v", event, err)
		}
	}
	refuses := httptest.NewServer(http.NotFoundHandler())
	defer refuses.Close()
	if err := follow(t.Context(), ipvsfake.New(), refuses.URL, plan); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("it ended with %v", err)
	}
}

// serve serves the slices of a plan, and a watch that ends after some events.
func serve(t *testing.T, plan objects.Plan, events string) string {
	t.Helper()
	list := discoveryv1.EndpointSliceList{ListMeta: metav1.ListMeta{ResourceVersion: "7"}}
	for i := range plan.Largest() {
		list.Items = append(list.Items, *plan.Slice(i))
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch q := r.URL.Query(); {
		case r.URL.Path != "/apis/discovery.k8s.io/v1/namespaces/bench/endpointslices":
			t.Errorf("it asks for %s", r.URL)
		case q.Get("watch") == "":
			_ = json.NewEncoder(w).Encode(list)
		case q.Get("resourceVersion") != "7":
			t.Errorf("it watches from %s", r.URL)
		default:
			_, _ = io.WriteString(w, events)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func event(t *testing.T, kind string, s *discoveryv1.EndpointSlice) string {
	t.Helper()
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf(`{"type":%q,"object":%s}`+"\n", kind, b)
}
