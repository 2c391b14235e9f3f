package suite

// Partial is a provider that cannot do all that cases may need. It keeps count of what it was not asked to show.
type Partial interface {
	// NotFor is told of a case that needs what this provider is not.
	NotFor(test, need string)
}

// lack ends a case whose provider is no need. This is the one place in the project that skips: what a cluster of
// somebody else's cannot be asked to do is neither a failure nor, being counted apart, a pass.
func (c *Case) lack(need string) {
	c.Helper()
	p, ok := c.Provider.(Partial)
	if !ok {
		c.Fatalf("this provider is no %s", need)
	}
	p.NotFor(c.Name(), need)
	c.SkipNow()
}
