package kube

import (
	"slices"
	"strings"
)

// unknown reports an annotation that does not exist, whether it was probably meant to be a restriction, and why it is not
// in force. name is what stands behind the prefix, which may itself be misspelt.
func unknown(key, name string, r *report) (restricts bool, why string) {
	switch meant := probablyMeant(name); {
	case slices.Contains(restrictions(), meant):
		r.skipped("unknown annotation %s is taken for %s, which restricts who reaches the Service; "+
			"no node port of it is served until the annotation is spelt right or removed",
			key, annotationPrefix+meant)
		return true, "unknown; taken for " + annotationPrefix + meant + ", so the Service is not served"
	case meant != "":
		r.invalid("unknown annotation %s has no effect; did you mean %s?", key, annotationPrefix+meant)
		return false, "unknown; did you mean " + annotationPrefix + meant + "?"
	}
	r.invalid("unknown annotation %s has no effect; known are %s", key, strings.Join(knownAnnotations(), ", "))
	return false, "unknown"
}

// probablyMeant is the known annotation that a name is nearest to. Case is none: what was meant to close a Service closes it
// in capitals too. What allows is allowed without a word for it.
func probablyMeant(name string) string {
	name = strings.ToLower(name)
	for _, word := range []string{"allow-", "allowed-"} {
		name = strings.TrimPrefix(name, word)
	}
	return nearest(name, knownAnnotations())
}

// nearest is the word that the fewest edits make of name. It is "" where half of it had to be written anew: nothing is
// probable then.
func nearest(name string, words []string) string {
	meant := slices.MinFunc(words, func(a, b string) int { return edits(name, a) - edits(name, b) })
	if edits(name, meant) > len(meant)/2 {
		return ""
	}
	return meant
}

// maxPrefixEdits keeps kube-vip.io, which is another project's, from being taken for ours.
const maxPrefixEdits = 2

// nearPrefix is what stands behind a prefix that was probably meant to be ours and is not: kube-ipvs/, Kube-ipvs.io/, kube-ipv.io/,
// or kube-ipvs.io with a dot behind it.
func nearPrefix(key string) (name string, near bool) {
	const domain = "kube-ipvs.io"
	if strings.HasPrefix(key, annotationPrefix) {
		return "", false
	}
	prefix, name, cut := strings.Cut(key, "/")
	prefix = strings.ToLower(prefix)
	if !cut {
		name, near = strings.CutPrefix(prefix, domain)
		return strings.TrimLeft(name, ".-_"), near
	}
	project, _, _ := strings.Cut(domain, ".")
	if strings.HasPrefix(prefix, project) {
		return name, true
	}
	length := len(prefix) - len(domain)
	return name, max(length, -length) <= maxPrefixEdits && edits(prefix, domain) <= maxPrefixEdits
}

// bare reports whether a key is the name of an annotation of ours without any prefix, which may be somebody else's.
func bare(key string) bool {
	return !strings.Contains(key, "/") && slices.Contains(knownAnnotations(), strings.ToLower(key))
}

// edits is the Levenshtein distance: letters added, left out or changed.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
