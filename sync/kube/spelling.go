package kube

import (
	"slices"
	"strings"
)

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
