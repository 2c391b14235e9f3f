package kube

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/sync"
)

// noteError is about a value that is in force all the same.
type noteError string

func (e noteError) Error() string { return string(e) }

func asNote(err error, into *noteError) bool { return errors.As(err, into) }

// parts are the entries of a list, without blanks around them.
func parts(value string) ([]string, error) {
	var all []string
	for part := range strings.SplitSeq(value, ",") {
		all = append(all, strings.TrimSpace(part))
	}
	if len(all) > 1 && slices.Contains(all, "") {
		return nil, errors.New("a comma too many: an entry is empty")
	}
	return all, nil
}

func readNetworks(value string, o Options, w *wanted) (string, error) {
	spec, undefined, err := o.Networks.Parse(value)
	if err != nil {
		return "", err
	}
	w.networks = &spec
	if len(undefined) == 0 {
		return shortList(spec.String()), nil
	}
	defined := "none"
	if names := o.Networks.Names(); len(names) > 0 {
		defined = strings.Join(names, ", ")
	}
	return cmp.Or(shortList(spec.String()), "selects nothing"), noteError(fmt.Sprintf("%s selects nothing: it is not defined on this node (--network defines %s); for an interface write iface:NAME",
		strings.Join(undefined, ", "), defined))
}

func readAllowed(value string, _ Options, w *wanted) (inForce string, err error) {
	if w.allow, err = rangesIn(value); err != nil {
		return "", err
	}
	return rangesText(w.allow), nil
}

func readDenied(value string, _ Options, w *wanted) (inForce string, err error) {
	if w.deny, err = rangesIn(value); err != nil {
		return "", err
	}
	return rangesText(w.deny), nil
}

// settingSpecRanges is how spec.loadBalancerSourceRanges is called where settings are listed.
const settingSpecRanges = "spec.loadBalancerSourceRanges"

// rangesOfSpec takes the ranges of the Service's spec where the node is told to, and the annotation does not say
// otherwise. kube-proxy passes over an entry that it cannot read; here that closes the Service as with the annotation.
func rangesOfSpec(svc *corev1.Service, o Options, w *wanted, r *report) {
	_, annotated := svc.Annotations[annotationSourceRanges]
	list := svc.Spec.LoadBalancerSourceRanges
	if !o.SpecSourceRanges || annotated || len(list) == 0 || svc.Spec.Type != corev1.ServiceTypeLoadBalancer {
		return
	}
	setting := sync.Setting{Name: settingSpecRanges, Written: strings.Join(list, ",")}
	var err error
	if w.allow, err = ranges(list); err != nil {
		w.closed = true
		why := clip(err.Error(), maxWhy)
		setting.Why = why + "; the Service is not served"
		r.skipped("%s: %s; no node port of the Service is served until it is mended", settingSpecRanges, why)
	}
	setting.InForce = rangesText(w.allow)
	w.settings = append(w.settings, setting)
}

func rangesIn(value string) ([]netip.Prefix, error) {
	list, err := parts(value)
	if err != nil {
		return nil, err
	}
	return ranges(list)
}

// ranges reads CIDRs and single addresses. Host bits are masked away, as kube-proxy does.
func ranges(texts []string) ([]netip.Prefix, error) {
	var list []netip.Prefix
	for _, text := range texts {
		text = strings.TrimSpace(text)
		p, err := netip.ParsePrefix(text)
		if addr, errAddr := netip.ParseAddr(text); errAddr == nil && addr.Zone() == "" {
			p, err = netip.PrefixFrom(addr, addr.BitLen()), nil
		}
		switch {
		case text == "":
			return nil, errors.New("no range is written: write a network such as 10.0.0.0/8 or fd00::/8, or remove it")
		case err != nil:
			return nil, fmt.Errorf("%q is not a network such as 10.0.0.0/8 or fd00::/8, nor an address", text)
		case p.Addr().Is4In6():
			return nil, fmt.Errorf("%q is IPv4 in IPv6 notation: write it as IPv4", text)
		}
		list = append(list, p)
	}
	return filter.NormalPrefixes(list), nil
}

// shownRanges is how many ranges, and entries of other lists, are listed to people: there may be thousands.
const shownRanges = 16

// shortList is a list as it is shown to people.
func shortList(text string) string {
	entries := strings.Split(text, ",")
	if len(entries) <= shownRanges {
		return text
	}
	return fmt.Sprintf("%s and %d more", strings.Join(entries[:shownRanges], ","), len(entries)-shownRanges)
}

func rangesText(list []netip.Prefix) string {
	var b strings.Builder
	for i, p := range list {
		if i == shownRanges {
			fmt.Fprintf(&b, " and %d more", len(list)-i)
			break
		}
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(p.String())
	}
	return b.String()
}

func readScheduler(value string, o Options, w *wanted) (string, error) {
	if !slices.Contains(o.AllowedSchedulers, value) {
		return "", fmt.Errorf("scheduler %q is not one of those allowed (%s)", value, strings.Join(slices.Sorted(slices.Values(o.AllowedSchedulers)), ", "))
	}
	w.scheduler = value
	return value, nil
}

func readSchedulerFlags(value string, _ Options, w *wanted) (string, error) {
	known := map[string]sync.SchedulerFlags{
		"sh-port": sync.SHPort, "sh-no-fallback": sync.SHNoFallback, "sh-fallback": 0,
		"mh-port": sync.MHPort, "mh-no-fallback": sync.MHNoFallback, "mh-fallback": 0,
	}
	list, err := parts(value)
	if err != nil {
		return "", err
	}
	var flags sync.SchedulerFlags
	for _, name := range list {
		flag, ok := known[name]
		if !ok {
			return "", fmt.Errorf("unknown flag %q; known are sh-port, sh-fallback, sh-no-fallback, mh-port, mh-fallback, mh-no-fallback", name)
		}
		flags |= flag
	}
	for _, scheduler := range []string{"sh", "mh"} {
		if slices.Contains(list, scheduler+"-fallback") && flags&known[scheduler+"-no-fallback"] != 0 {
			return "", fmt.Errorf("%s-fallback and %s-no-fallback contradict each other", scheduler, scheduler)
		}
	}
	w.flags = flags
	return flags.String(), nil
}

// readKubeRouterFlags reads the flags as kube-router does (pkg/controllers/proxy, parseSchedFlags), but for flag-1: it is
// the fallback, without which draining refuses clients, and which is on by default here.
func readKubeRouterFlags(value string, _ Options, w *wanted) (string, error) {
	list, err := parts(value)
	if err != nil {
		return "", err
	}
	var flags sync.SchedulerFlags
	for _, name := range list {
		switch name {
		case "flag-1", "flag-3":
		case "flag-2":
			flags |= sync.MHPort
		default:
			return "", fmt.Errorf("unknown flag %q; known are flag-1, flag-2, flag-3", name)
		}
	}
	w.flags = flags
	return flags.String(), nil
}

func readUpperThreshold(value string, _ Options, w *wanted) (inForce string, err error) {
	w.limits.Upper, err = threshold(value)
	return number(w.limits.Upper), err
}

func readLowerThreshold(value string, _ Options, w *wanted) (inForce string, err error) {
	w.limits.Lower, err = threshold(value)
	return number(w.limits.Lower), err
}

func threshold(value string) (uint32, error) {
	n, err := strconv.ParseUint(value, 10, 31)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%q is not a number of connections from 1 to %d", value, math.MaxInt32)
	}
	return uint32(n), nil
}

func number(n uint32) string { return strconv.FormatUint(uint64(n), 10) }

func readOnePacket(value string, _ Options, w *wanted) (string, error) {
	on, err := strconv.ParseBool(value)
	if err != nil {
		return "", fmt.Errorf("%q is neither true nor false", value)
	}
	w.onePacket = on
	return strconv.FormatBool(on), nil
}

const (
	minSlowStart = time.Second
	maxSlowStart = time.Hour
	// maxSlowStartWeight leaves room for steps: weights are multiplied by them.
	maxSlowStartWeight = sync.MaxSlowStartWeight
)

func readSlowStart(value string, _ Options, w *wanted) (string, error) {
	d, err := time.ParseDuration(value)
	if err != nil || d < minSlowStart || d > maxSlowStart {
		return "", fmt.Errorf("%q is not a duration from 1s to 1h, for example 30s", value)
	}
	w.slowStart = d
	return d.String(), nil
}

const (
	minDrainTimeout = time.Second
	maxDrainTimeout = 24 * time.Hour
)

func readDrainTimeout(value string, _ Options, w *wanted) (string, error) {
	d, err := time.ParseDuration(value)
	if err != nil || d < minDrainTimeout || d > maxDrainTimeout {
		return "", fmt.Errorf("%q is not a duration from 1s to 24h, for example 30m", value)
	}
	w.drain = d
	return d.String(), nil
}

// readAffinityPrefix reads a list of prefix lengths such as "/24,/64". With anything wrong in it all of it counts as
// absent.
func readAffinityPrefix(value string, _ Options, w *wanted) (string, error) {
	list, err := parts(value)
	if err != nil {
		return "", err
	}
	var prefix4, prefix6 uint8
	for _, entry := range list {
		bits, slash := strings.CutPrefix(entry, "/")
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
		return "", fmt.Errorf("%q: write a prefix length of each family, for example /24,/64 (up to /32 is for IPv4, above for IPv6)", entry)
	}
	w.prefix4, w.prefix6 = prefix4, prefix6
	var texts []string
	for _, length := range []uint8{prefix4, prefix6} {
		if length > 0 {
			texts = append(texts, fmt.Sprintf("/%d", length))
		}
	}
	return strings.Join(texts, ","), nil
}
