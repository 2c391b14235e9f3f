package suite

import (
	"testing"
)

type whole struct{ Provider }

type partial struct {
	Provider
	cases map[string]string
}

func (p *partial) NotFor(test, need string) { p.cases[test] = need }

// outcome runs f as a case and returns how it ended.
func outcome(p Provider, f func(c *Case)) (failed, skipped bool) {
	var t testing.T
	done := make(chan struct{})
	go func() {
		defer close(done)
		var lacks string
		f(&Case{T: &t, Provider: p, lacks: &lacks})
	}()
	<-done
	return t.Failed(), t.Skipped()
}

func TestACaseFailsOnAProviderThatShouldBeAbleToDoAll(t *testing.T) {
	if failed, skipped := outcome(whole{}, func(c *Case) { Need[Agents](c) }); !failed || skipped {
		t.Errorf("failed %v, skipped %v", failed, skipped)
	}
}

func TestACaseThatIsNotForAProviderIsNeitherAPassNorAFailure(t *testing.T) {
	p := &partial{cases: map[string]string{}}
	reached := false
	failed, skipped := outcome(p, func(c *Case) { Need[Agents](c); reached = true })
	if failed || !skipped || reached {
		t.Errorf("failed %v, skipped %v, went on %v", failed, skipped, reached)
	}
	inner := make(chan struct{})
	var over testing.T
	go func() {
		defer close(inner)
		notFor(&over, p, "Agents")
	}()
	<-inner
	if !over.Skipped() || p.cases[over.Name()] != "Agents" {
		t.Errorf("skipped %v, counted %v", over.Skipped(), p.cases)
	}
	notFor(t, whole{}, "") // one that ran
}
