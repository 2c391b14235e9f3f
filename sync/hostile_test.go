package sync

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/filter/filtertest"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
)

// poison sets every text of a value: those of fields, lists and pointers, whatever fields will be added. Of other kinds there is none yet.
func poison(v reflect.Value, text string) (set int) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
		return 1
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				set += poison(v.Field(i), text)
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			set += poison(v.Index(i), text)
		}
	case reflect.Pointer:
		if !v.IsNil() {
			set += poison(v.Elem(), text)
		}
	case reflect.Map, reflect.Array, reflect.Interface:
		panic("poison does not reach the texts of a " + v.Type().String())
	}
	return set
}

// What reaches nft are addresses, ports and our own words, whatever Services are called.
func TestNothingThatOthersWroteReachesNFTables(t *testing.T) {
	const hostile = "evil\"; }\nadd rule inet kube-ipvs masquerade-all drop #\x1b\u202e"
	dump := func(t *testing.T, change func(*Service)) (text string) {
		t.Helper()
		bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
			var scripts strings.Builder
			nft.SetFault(func(transaction string) error { scripts.WriteString(transaction); return nil })
			g := start(t, kernel, nft)
			restricted, local := service("web", 30080, "10.244.1.1:8080"), service("local", 30081, "10.244.1.2:8080 local")
			restricted.Sources = filter.NewSources([]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, []netip.Prefix{netip.MustParsePrefix("10.66.0.0/16")})
			local.Ports[0].Policy = Local
			for _, svc := range []*Service{&restricted, &local} {
				svc.Problems, svc.Settings = []Problem{{}}, []Setting{{}}
				change(svc)
			}
			g.serve(restricted, local)
			g.after(g.SyncPeriod)
			text = scripts.String() + g.nft.Dump()
			g.stop()
		})
		return text
	}
	plain := dump(t, func(*Service) {})
	if !strings.Contains(plain, "30080") || !strings.Contains(plain, "10.66.0.0/16") {
		t.Fatalf("nothing is written, so nothing is shown:\n%s", plain)
	}
	for i, name := range []string{"web", "local"} {
		got := dump(t, func(svc *Service) {
			if svc.ID.Name != name {
				return
			}
			if set := poison(reflect.ValueOf(svc).Elem(), hostile); set < 10 {
				t.Fatalf("%d texts are hostile", set)
			}
			svc.Ports[0].Scheduler = "" // one that the kernel does not know is refused before
		})
		if got != plain {
			t.Errorf("Service %d: the name of a Service changes what nft is told:\n%s\nwant\n%s", i, got, plain)
		}
	}
}
