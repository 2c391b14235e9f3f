//go:build kernel

package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/agent"
	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

func (r *rig) testRulesetFlush(t *testing.T) {
	isBack := r.remember(t)
	c, pod := r.dial(t, at(r.Node1.A4))
	r.run(t, "", "nft", "flush", "ruleset")
	flushed := time.Now()
	// One run of nft: to read all of the table takes nine.
	eventually(t, "our nftables table is back", func() error {
		_, err := r.Node1.Command(t.Context(), "nft", "list", "table", string(filter.Family), filter.Name).Output()
		return err
	})
	t.Logf("the table was back after %s", since(flushed))
	if took := since(flushed); took > soon {
		t.Errorf("it took %s", took)
	}
	eventually(t, "all is as it was", isBack)
	r.served(t)
	if got := askOn(t, c); got != pod {
		t.Errorf("the open connection is answered by %s, not %s", got, pod)
	}
}

func (r *rig) testTableFlush(t *testing.T) {
	isBack := r.remember(t)
	before := r.metric(t, "kube_ipvs_drift_repaired_total")
	r.run(t, "", "ipvsadm", "-C")
	flushed := time.Now()
	eventually(t, "all is as it was", isBack)
	t.Logf("it took %s, with an audit each second", since(flushed))
	r.served(t)
	eventually(t, "the drift is counted", func() error {
		if n := r.metric(t, "kube_ipvs_drift_repaired_total"); n == before {
			return fmt.Errorf("%v was repaired before, and is now", n)
		}
		return nil
	})
}

func (r *rig) testFlushWhileDown(t *testing.T) {
	isBack := r.remember(t)
	r.kill(t)
	r.run(t, "", "nft", "flush", "ruleset")
	r.run(t, "", "ipvsadm", "-C")
	foreign := r.addForeign(t)
	r.start(t, bothNetworks, oftenAudited)
	r.served(t)
	if got := r.foreignLines(t); got != foreign {
		t.Errorf("the foreign virtual servers are\n%s\nand were\n%s", got, foreign)
	}
	r.run(t, "", "ipvsadm", "-C")
	eventually(t, "all is as it was", isBack)
}

// Without our nftables table nothing says what is ours. What the Services claim is taken over nevertheless.
func (r *rig) testRulesetFlushWhileDown(t *testing.T) {
	isBack := r.remember(t)
	c, pod := r.dial(t, at(r.Node1.B6))
	r.stop(t)
	r.run(t, "", "nft", "flush", "ruleset")
	r.start(t, bothNetworks)
	must(t, isBack())
	if n := r.metric(t, `kube_ipvs_kernel_operations_total{result="done",verb="add-virtual"}`); n != 0 {
		t.Errorf("%v virtual servers were added, want those that were there to be taken over", n)
	}
	if got := askOn(t, c); got != pod {
		t.Errorf("the open connection is answered by %s, not %s", got, pod)
	}
}

// remember returns a function that is nil if all is as it is now. Real servers that are on their way out go first.
func (r *rig) remember(t *testing.T) func() error {
	t.Helper()
	eventually(t, "nothing drains", func() error {
		if n := r.metric(t, "kube_ipvs_real_servers_draining"); n > 0 {
			return fmt.Errorf("%v real servers do", n)
		}
		return nil
	})
	table := r.table(t)
	state, err := r.rules(t.Context())
	must(t, err)
	return func() error { return r.isAsBefore(t, table, state.Rules) }
}

// isAsBefore is nil if the kernel has this table and these rules.
func (r *rig) isAsBefore(t *testing.T, table ipvs.Table, rules filter.Rules) error {
	t.Helper()
	now, err := agent.Table(t.Context(), r.Node1)
	if err != nil {
		return err
	}
	if !now.Equal(table) {
		return fmt.Errorf("the IPVS table is\n%s\nand was\n%s", now, table)
	}
	state, err := r.rules(t.Context())
	if err != nil {
		return err
	}
	if !state.Intact || !state.Rules.Equal(rules) {
		return fmt.Errorf("our nftables table is %+v and was %+v", state, rules)
	}
	return nil
}
