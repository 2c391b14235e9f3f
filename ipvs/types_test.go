package ipvs_test

import (
	"strings"
	"testing"

	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

func TestSchedulerNamesAreNothingButNames(t *testing.T) {
	for _, name := range []string{"rr", "lblcr", "my_own-1", "abcdefghijklmno"} {
		if !ipvs.ValidSchedulerName(name) {
			t.Errorf("%q is refused", name)
		}
	}
	for _, name := range []string{"", "RR", "rr ", "../rr", "r.r", "rr\x00", "ä", "abcdefghijklmnop"} {
		if ipvs.ValidSchedulerName(name) {
			t.Errorf("%q would reach the module loader", name)
		}
	}
}

func TestValidateJoinsAllThatIsWrong(t *testing.T) {
	table := mustParse(t, `
		tcp://10.1.0.10:80 rr
			10.244.1.2:80 masq weight 1
		tcp://10.1.0.11:80 rr
		tcp://10.1.0.12:80 rr`)
	keys := table.Keys()
	for addr := range table[keys[0]].Reals {
		table[keys[0]].Reals[addr] = ipvs.RealServer{Weight: ipvs.MaxWeight + 1}
	}
	table[keys[1]] = ipvs.Entry{VirtualServer: ipvs.VirtualServer{Scheduler: "rr", PersistenceTimeout: 1}}
	table[keys[2]] = ipvs.Entry{VirtualServer: ipvs.VirtualServer{Scheduler: "rr", Flags: 0x2}}
	odd := keys[2]
	odd.Port = 0
	table[odd] = ipvs.Entry{}
	err := table.Validate()
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		"10.1.0.10:80: real server 10.244.1.2:80: weight 65536 is above 65535",
		"10.1.0.11:80: persistence timeout or prefix without persistence",
		"10.1.0.12:80: unknown flags 0x2",
		"port 0",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in\n%v", want, err)
		}
	}
}

func TestCopiesShareNothing(t *testing.T) {
	table := mustParse(t, everything)
	clone := table.Clone()
	for key, e := range clone {
		for addr := range e.Reals {
			delete(e.Reals, addr)
		}
		delete(clone, key)
	}
	wantTable(t, "the original", table, mustParse(t, everything))
	if !table.Equal(mustParse(t, everything)) || table.Equal(clone) {
		t.Error("Equal does not tell them apart")
	}
}
