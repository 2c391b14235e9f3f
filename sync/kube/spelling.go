package kube

import (
	"slices"
	"strings"
)

// unknown reports an annotation that does not exist, whether it was probably meant to be a restriction, and why it is not
// in force.
func unknown(name string, r *report) (restricts bool, why string) {
	switch meant := probablyMeant(name); {
	case slices.Contains(restrictions(), meant):
		r.skipped("unknown annotation %s is taken for %s, which restricts who reaches the Service; "+
			"no node port of it is served until the annotation is spelt right or removed",
			annotationPrefix+name, annotationPrefix+meant)
		return true, "unknown; taken for " + annotationPrefix + meant + ", so the Service is not served"
	case meant != "":
		r.invalid("unknown annotation %s has no effect; did you mean %s?", annotationPrefix+name, annotationPrefix+meant)
		return false, "unknown; did you mean " + annotationPrefix + meant + "?"
	}
	r.invalid("unknown annotation %s has no effect; known are %s",
		annotationPrefix+name, strings.Join(knownAnnotations(), ", "))
	return false, "unknown"
}

// probablyMeant is the known annotation that the fewest edits make of name. It is "" where half of it had to be written
// anew: nothing is probable then. Case is none: what was meant to close a Service closes it in capitals too. What allows
// is allowed without a word for it.
func probablyMeant(name string) string {
	name = strings.ToLower(name)
	for _, word := range []string{"allow-", "allowed-"} {
		name = strings.TrimPrefix(name, word)
	}
	meant := slices.MinFunc(knownAnnotations(), func(a, b string) int { return edits(name, a) - edits(name, b) })
	if edits(name, meant) > len(meant)/2 {
		return ""
	}
	return meant
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
