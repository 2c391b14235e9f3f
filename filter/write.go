package filter

import (
	"sigs.k8s.io/knftables"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// deleteElements deletes what a change deletes or alters. Each deletion is preceded by an addition: the element is gone
// then, whether it was there or not.
func deleteElements(tx *knftables.Transaction, c Change) {
	var gone []*knftables.Element
	remove := func(e *knftables.Element) { gone = append(gone, e) }
	for _, m := range c.Masquerade {
		if m.Was != MasqueradeNone {
			remove(masqueradeElement(m.Key, m.Was))
		}
	}
	for _, s := range c.Sources {
		if s.Was != nil {
			remove(sourcesElement(s.Key, s.Was))
		}
	}
	for _, key := range c.DelInternal {
		remove(internalSet(key.Addr.Is4()).element(key))
	}
	for _, key := range c.DelOwned {
		remove(ownedSet(key.Addr.Is4()).element(key))
	}
	for _, e := range gone {
		tx.Add(e)
	}
	for _, e := range gone {
		tx.Delete(e)
	}
	if c.SetPods {
		for _, ipv4 := range families() {
			tx.Flush(podsSet(ipv4).object())
		}
	}
}

func addElements(tx *knftables.Transaction, c Change) {
	for _, key := range c.AddOwned {
		tx.Add(ownedSet(key.Addr.Is4()).element(key))
	}
	for _, key := range c.AddInternal {
		tx.Add(internalSet(key.Addr.Is4()).element(key))
	}
	for _, m := range c.Masquerade {
		if m.Is != MasqueradeNone {
			tx.Add(masqueradeElement(m.Key, m.Is))
		}
	}
	for _, s := range c.Sources {
		if s.Is != nil {
			tx.Add(sourcesElement(s.Key, s.Is))
		}
	}
	for _, p := range c.Pods {
		tx.Add(podsSet(p.Addr().Is4()).prefix(p))
	}
}

func masqueradeElement(key frontend.Key, m Masquerade) *knftables.Element {
	return masqueradeMap(key.Addr.Is4(), key.Protocol).masqueraded(key, m)
}

func sourcesElement(key frontend.Key, s *Sources) *knftables.Element {
	return sourcesMap(key.Addr.Is4()).admitting(key, s)
}
