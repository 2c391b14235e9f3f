package filter

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/knftables"
)

func TestNeighbouringElementsOfASetAreOneCommand(t *testing.T) {
	tx := newProgram().NewTransaction()
	one, two := &knftables.Element{Set: "s", Key: []string{"10.1.0.10", "tcp", "1"}}, &knftables.Element{Set: "s", Key: []string{"10.1.0.10", "tcp", "2"}}
	tx.Add(&knftables.Set{Name: "s", Type: "ipv4_addr . inet_proto . inet_service"})
	tx.Add(one)
	tx.Add(two)
	tx.Add(&knftables.Element{Map: "m", Key: []string{"10.1.0.10", "1"}, Value: []string{"goto c"}})
	tx.Add(&knftables.Element{Map: "m", Key: []string{"10.1.0.10", "2"}, Value: []string{"goto c"}})
	tx.Delete(one)
	tx.Delete(two)
	tx.Add(one)
	tx.Flush(&knftables.Set{Name: "s"})
	tx.Add(two)
	got, err := script(tx)
	if err != nil {
		t.Fatal(err)
	}
	want := `add set inet kube-ipvs s { type ipv4_addr . inet_proto . inet_service ; }
add element inet kube-ipvs s { 10.1.0.10 . tcp . 1,
10.1.0.10 . tcp . 2 }
add element inet kube-ipvs m { 10.1.0.10 . 1 : goto c,
10.1.0.10 . 2 : goto c }
delete element inet kube-ipvs s { 10.1.0.10 . tcp . 1,
10.1.0.10 . tcp . 2 }
add element inet kube-ipvs s { 10.1.0.10 . tcp . 1 }
flush set inet kube-ipvs s
add element inet kube-ipvs s { 10.1.0.10 . tcp . 2 }
`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("script (-want +got):\n%s", diff)
	}
}

func TestACommandHasAnEnd(t *testing.T) {
	tx := newProgram().NewTransaction()
	for range 2*elementsAtOnce + 1 {
		tx.Add(&knftables.Element{Set: "s", Key: []string{"10.0.0.0/8"}})
	}
	got, err := script(tx)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(got), "add element"); n != 3 {
		t.Errorf("%d commands, want 3", n)
	}
	if n := strings.Count(string(got), "10.0.0.0/8"); n != 2*elementsAtOnce+1 {
		t.Errorf("%d elements", n)
	}
}

func TestATransactionThatCannotBeWrittenIsAnError(t *testing.T) {
	for _, before := range []int{0, 1} {
		tx := newProgram().NewTransaction()
		for range before {
			tx.Add(&knftables.Table{})
		}
		tx.Add(&knftables.Element{Map: "m", Key: []string{"10.1.0.10"}})
		if _, err := script(tx); err == nil || !strings.Contains(err.Error(), "no map value") {
			t.Errorf("error %v", err)
		}
	}
}

func TestAnOldNftIsNamed(t *testing.T) {
	for version, fails := range map[string]bool{"0.9.8": true, "1.0.0": true, "1.0.1": false, "1.1.3": false} {
		_, err := parseListing([]byte(strings.Replace(printed, `"version": "1.0.6"`, `"version": "`+version+`"`, 1)))
		if (err != nil) != fails || fails && !strings.Contains(err.Error(), version) {
			t.Errorf("%s: error %v", version, err)
		}
	}
}
