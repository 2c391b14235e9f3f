package filter

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/netip"
	"slices"
	"strings"
)

// Sources says which clients may connect to a frontend, by their source address. It drops those within deny; of the
// others, if anything at all is in allow, those outside of it. So a list that allows IPv4 networks only admits no client
// of an IPv6 frontend. The node's own requests count by their source address like all others.
//
// A nil Sources admits everybody. Sources never change, and may be shared.
type Sources struct {
	allow, deny []netip.Prefix
	id          string
	err         error // why no table takes the list
}

// NewSources is the list of these prefixes, as NormalPrefixes has them; nil if there are none. One with something that is not
// a prefix, or has the IPv4-mapped form, is left as it is, and no table takes it.
func NewSources(allow, deny []netip.Prefix) *Sources {
	if len(allow)+len(deny) == 0 {
		return nil
	}
	s := &Sources{allow: slices.Clone(allow), deny: slices.Clone(deny)}
	for _, p := range slices.Concat(allow, deny) {
		if s.err == nil {
			s.err = validatePrefix(p.Masked())
		}
	}
	if s.err == nil {
		s.allow, s.deny = NormalPrefixes(allow), NormalPrefixes(deny)
	}
	sum := sha256.Sum256([]byte(s.String()))
	s.id = hex.EncodeToString(sum[:16])
	return s
}

// Nobody is the list that admits no client.
func Nobody() *Sources {
	return NewSources(nil, []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)})
}

// Both is the list of those whom s and o both admit.
func (s *Sources) Both(o *Sources) *Sources {
	switch nobody := Nobody(); {
	case s == nil || s.Equal(o) || o.Equal(nobody):
		return o
	case o == nil || s.Equal(nobody):
		return s
	}
	allow := common(s.allow, o.allow)
	if len(s.allow) == 0 || len(o.allow) == 0 {
		allow = slices.Concat(s.allow, o.allow)
	} else if len(allow) == 0 {
		return Nobody()
	}
	return NewSources(allow, slices.Concat(s.deny, o.deny))
}

// common are the networks within both of two lists, each as NormalPrefixes has it.
func common(a, b []netip.Prefix) []netip.Prefix {
	all := slices.Concat(a, b)
	slices.SortFunc(all, netip.Prefix.Compare) // a shorter prefix comes before those within it
	var within []netip.Prefix
	var last netip.Prefix
	for _, p := range all {
		if last.IsValid() && last.Bits() <= p.Bits() && last.Contains(p.Addr()) {
			within = append(within, p) // of the other list: none of one list is within another of it
		} else {
			last = p
		}
	}
	return within
}

// ID names a list by its content, in 32 hexadecimal digits; empty for nil. Two lists are the same if their IDs are.
func (s *Sources) ID() string {
	if s == nil {
		return ""
	}
	return s.id
}

// Allow are the networks of those who may connect; none means everybody.
func (s *Sources) Allow() []netip.Prefix {
	if s == nil {
		return nil
	}
	return slices.Clone(s.allow)
}

// Deny are the networks of those who may not connect, whatever Allow says.
func (s *Sources) Deny() []netip.Prefix {
	if s == nil {
		return nil
	}
	return slices.Clone(s.deny)
}

// Equal reports whether both are the same list, or both nil.
func (s *Sources) Equal(o *Sources) bool { return (s == nil) == (o == nil) && s.ID() == o.ID() }

// String is the whole list, "allow 10.0.0.0/8 deny 10.1.0.0/16 10.2.0.0/16"; empty for nil. The ID is made of it: every
// change of this text is another layout.
func (s *Sources) String() string {
	if s == nil {
		return ""
	}
	var words []string
	for _, part := range []struct {
		verb string
		list []netip.Prefix
	}{{"allow", s.allow}, {"deny", s.deny}} {
		if len(part.list) > 0 {
			words = append(words, part.verb)
		}
		for _, p := range part.list {
			words = append(words, p.String())
		}
	}
	return strings.Join(words, " ")
}

// validate refuses what no chain can be made of, and names the first prefix at fault.
func (s *Sources) validate() error {
	if s.id == "" {
		return errors.New("a list that NewSources did not make")
	}
	return s.err
}
