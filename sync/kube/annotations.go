package kube

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/kube-ipvs/kube-ipvs/sync"
)

// annotationPrefix is that of every annotation of ours.
const annotationPrefix = "kube-ipvs.io/"

const (
	annotationScheduler      = "scheduler"
	annotationAffinityPrefix = "affinity-prefix"
)

// annotations is what a Service asks for by annotation.
type annotations struct {
	// scheduler is "" for the node's default.
	scheduler string
	// prefix4 and prefix6 group clients for session affinity; 0 is each client by itself.
	prefix4, prefix6 uint8
	// closed: the Service restricts who reaches it in a way that is not enforced, so nobody does.
	closed bool
}

// readAnnotations reports what is unknown or not in force. A bad value counts as absent, except that a restriction
// closes its Service, also one that is misspelt: it must not be open wider than its author asked for.
func readAnnotations(svc *corev1.Service, o Options, r *report) annotations {
	var a annotations
	for _, key := range slices.Sorted(maps.Keys(svc.Annotations)) {
		name, ours := strings.CutPrefix(key, annotationPrefix)
		if !ours {
			continue
		}
		switch value := svc.Annotations[key]; {
		case name == annotationScheduler:
			a.scheduler = scheduler(value, o.AllowedSchedulers, r)
		case name == annotationAffinityPrefix:
			a.prefix4, a.prefix6 = affinityPrefix(value, r)
			if svc.Spec.SessionAffinity != corev1.ServiceAffinityClientIP {
				r.invalid("annotation %s has no effect without sessionAffinity: ClientIP", key)
			}
		case slices.Contains(restrictions(), name):
			a.closed = true
			r.add(sync.Unsupported, true, "annotation "+key+" is not enforced yet; no node port of the Service is served, "+
				"since it would be open wider than it asks")
		case slices.Contains(laterAnnotations(), name):
			r.unsupported("annotation %s has no effect yet", key)
		default:
			a.closed = unknown(name, r) || a.closed
		}
	}
	return a
}

// unknown reports an annotation that does not exist, and whether it was probably meant to be a restriction.
func unknown(name string, r *report) (restricts bool) {
	switch meant := probablyMeant(name); {
	case slices.Contains(restrictions(), meant):
		r.skipped("unknown annotation %s is taken for %s, which restricts who reaches the Service; "+
			"no node port of it is served until the annotation is spelt right or removed",
			annotationPrefix+name, annotationPrefix+meant)
		return true
	case meant != "":
		r.invalid("unknown annotation %s has no effect; did you mean %s?", annotationPrefix+name, annotationPrefix+meant)
	default:
		r.invalid("unknown annotation %s has no effect; known are %s",
			annotationPrefix+name, strings.Join(knownAnnotations(), ", "))
	}
	return false
}

func scheduler(value string, allowed []string, r *report) string {
	if slices.Contains(allowed, value) {
		return value
	}
	r.invalid("annotation %s: scheduler %q is not one of those allowed (%s); the node's default is used",
		annotationPrefix+annotationScheduler, value, strings.Join(slices.Sorted(slices.Values(allowed)), ", "))
	return ""
}

// affinityPrefix reads a list of prefix lengths such as "/24,/64": up to /32 for IPv4, above for IPv6. With anything
// wrong in it all of it counts as absent.
func affinityPrefix(value string, r *report) (prefix4, prefix6 uint8) {
	for entry := range strings.SplitSeq(value, ",") {
		bits, slash := strings.CutPrefix(strings.TrimSpace(entry), "/")
		n, err := strconv.ParseUint(bits, 10, 8)
		length := uint8(n)
		switch {
		case !slash || err != nil || length == 0 || length > 128:
		case length <= 32 && prefix4 == 0:
			prefix4 = length
			continue
		case length > 32 && prefix6 == 0:
			prefix6 = length
			continue
		}
		r.invalid("annotation %s: %q: write a prefix length of each family, for example /24,/64 (up to /32 is for IPv4, above for IPv6); "+
			"each client counts by itself", annotationPrefix+annotationAffinityPrefix, entry)
		return 0, 0
	}
	return prefix4, prefix6
}

// restrictions narrow who reaches a Service.
func restrictions() []string { return []string{"networks", "source-ranges", "deny-source-ranges"} }

// laterAnnotations are the names that later versions read, apart from the restrictions.
func laterAnnotations() []string {
	return []string{"scheduler-flags", "drain-timeout", "weights", "extra-ports"}
}

func knownAnnotations() []string {
	return slices.Concat([]string{annotationScheduler, annotationAffinityPrefix}, restrictions(), laterAnnotations())
}

// probablyMeant is the known annotation that the fewest edits make of name. It is "" where half of it had to be written
// anew: nothing is probable then.
func probablyMeant(name string) string {
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
