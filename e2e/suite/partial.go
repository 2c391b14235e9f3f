package suite

import "testing"

// Partial is a provider that cannot do all that cases may need. It keeps count of what it was not asked to show.
type Partial interface {
	// NotFor is told of a case that needs what this provider is not.
	NotFor(test, need string)
}

// lack ends a case whose provider is no need.
func (c *Case) lack(need string) {
	c.Helper()
	if _, ok := c.Provider.(Partial); !ok {
		c.Fatalf("this provider is no %s", need)
	}
	*c.lacks = need
	c.SkipNow()
}

// notFor says of a case that has ended whether it was for the provider. This is the one place in the project that skips:
// what somebody else's cluster cannot be asked to do is no failure and, being counted apart, no pass.
func notFor(t *testing.T, provider Provider, lacks string) {
	t.Helper()
	if lacks == "" {
		return
	}
	provider.(Partial).NotFor(t.Name(), lacks)
	t.SkipNow()
}
