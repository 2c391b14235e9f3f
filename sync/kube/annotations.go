package kube

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kube-ipvs/kube-ipvs/nodeaddr"
	"github.com/kube-ipvs/kube-ipvs/sync"
)

// annotationPrefix is that of every annotation of ours.
const annotationPrefix = "kube-ipvs.io/"

// kubeRouterPrefix is that of kube-router's annotations of Services.
const kubeRouterPrefix = "kube-router.io/service."

// The annotations that somebody asks for by name.
const (
	annotationNetworks       = annotationPrefix + "networks"
	annotationSourceRanges   = annotationPrefix + "source-ranges"
	annotationScheduler      = annotationPrefix + "scheduler"
	annotationSchedulerFlags = annotationPrefix + "scheduler-flags"
	annotationWeights        = annotationPrefix + "weights"
	annotationLowerThreshold = annotationPrefix + "lower-threshold"
	annotationAffinityPrefix = annotationPrefix + "affinity-prefix"
	annotationExtraPorts     = annotationPrefix + "extra-ports"
	annotationSlowStart      = annotationPrefix + "slow-start"
)

// annotation is one that Services may carry.
type annotation struct {
	// key is its whole name.
	key string
	// values and meaning are for people: what may be written, and what it does. Example is a value.
	values, example, meaning string
	// otherwise is what counts where the value cannot be read. A restriction closes its Service then: no node port of it
	// is served, since it must not be open wider than its author asked for.
	otherwise string
	restricts bool
	// chooses: it is the scheduler.
	chooses bool
	// aspect is what the scheduler may make nothing of.
	aspect sync.Aspect
	// long: it may have more than maxValue bytes.
	long bool
	// insteadOf is the annotation of ours that makes this one go unread.
	insteadOf string
	// read takes the value in and says what is in force by it, in canonical form. It is nil for what later versions read.
	read func(value string, o Options, w *wanted) (inForce string, err error)
}

// wanted is what a Service asks for by annotation.
type wanted struct {
	// networks is nil for all addresses that serve.
	networks *nodeaddr.Spec
	// allow and deny are whose new connections are taken and dropped; none of both is everybody.
	allow, deny []netip.Prefix
	// scheduler is "" for the node's default.
	scheduler string
	flags     sync.SchedulerFlags
	weights   weights
	limits    sync.Limits
	// extraPorts are those that this node allows.
	extraPorts []extraPort
	slowStart  time.Duration
	drain      time.Duration
	onePacket  bool
	// prefix4 and prefix6 group clients for session affinity; 0 is each client by itself.
	prefix4, prefix6 uint8
	// closed: the Service restricts who reaches it in a way that cannot be read, so nobody does.
	closed bool
	// settings are the annotations that it has, in the order of the table.
	settings []sync.Setting
}

// annotations is the one table of them: what is read, documented, checked and shown is what stands here.
func annotations() []annotation {
	return []annotation{
		{
			key: annotationNetworks, restricts: true, read: readNetworks,
			values:  "names of `--network`, CIDRs, `iface:NAME` (globs allowed), `primary`, `all`; separated by commas",
			example: "internal,10.9.0.0/16",
			meaning: "narrows the node addresses that serve the Service to those that an entry selects. It never widens `--nodeport-addresses`. A name that is not defined on a node selects nothing there",
		},
		{
			key: annotationSourceRanges, restricts: true, long: true, read: readAllowed,
			values:  "CIDRs and addresses of both families, separated by commas",
			example: "10.0.0.0/8,fd00::/8",
			meaning: "only clients in these ranges may connect; without a range of a family, nobody of that family. Others are dropped. It is decided for new connections, by the client's address as this node sees it, pods and the node itself included",
		},
		{
			key: annotationPrefix + "deny-source-ranges", restricts: true, long: true, read: readDenied,
			values:  "CIDRs and addresses of both families, separated by commas",
			example: "10.66.0.0/16",
			meaning: "clients in these ranges are dropped, also where `source-ranges` allows them",
		},
		{
			key: annotationScheduler, chooses: true, read: readScheduler, otherwise: "the node's default is used",
			values:  "a name that `--allowed-schedulers` has",
			example: "wlc",
			meaning: "the scheduler of the Service's virtual servers. One that the node's kernel lacks falls back to `--ipvs-scheduler`, with an Event. A change loses new connections for a moment",
		},
		{
			key: annotationSchedulerFlags, aspect: sync.OfFlags, read: readSchedulerFlags, otherwise: "the scheduler's defaults are used",
			values:  "`sh-port`, `sh-fallback`, `sh-no-fallback`, `mh-port`, `mh-fallback`, `mh-no-fallback`; separated by commas",
			example: "mh-port",
			meaning: "`sh` and `mh` choose by the client's address, with `-port` by its port too. They fall back to another real server where the chosen one takes no new connection; `-no-fallback` refuses those clients, also while real servers are drained",
		},
		{
			key: annotationWeights, aspect: sync.OfWeights, read: readWeights, otherwise: "all endpoints have weight 1",
			values:  "`zone:NAME=WEIGHT`, `node:NAME=WEIGHT`, `label:KEY=WEIGHT`, `label:KEY=VALUE=WEIGHT`, `*=WEIGHT`; separated by commas, WEIGHT from 0 to 65535",
			example: "node:worker-7=0,zone:eu-1a=3",
			meaning: "the weight of an endpoint is that of the first entry that fits its zone, its node or a label of its node; 1 where none fits. With 0 it gets no new connection and keeps those it has. Other weights count with wrr, wlc, lblc, lblcr, sed, nq, sh, mh, fo, ovf and twos",
		},
		{
			key: annotationPrefix + "upper-threshold", read: readUpperThreshold, otherwise: "there is no limit",
			values:  "a number from 1 to 2147483647",
			example: "1000",
			meaning: "an endpoint that has this many connections through one virtual server of a node gets no further one from it. Where all have, new connections are refused. Each node and each of its addresses counts for itself",
		},
		{
			key: annotationLowerThreshold, read: readLowerThreshold, otherwise: "it is three quarters of the upper one, as the kernel has it",
			values:  "a number from 1 to the upper threshold",
			example: "800",
			meaning: "an endpoint that has reached its upper threshold gets connections again once it has fewer than this",
		},
		{
			key: annotationSlowStart, aspect: sync.OfSlowStart, read: readSlowStart, otherwise: "new endpoints get their whole weight at once",
			values:  "a duration from 1s to 1h",
			example: "30s",
			meaning: "an endpoint that is new beside others gets its weight in ten steps over this time. It counts with wrr, wlc, sed and nq, whose weights are multiplied by ten for it",
		},
		{
			key: annotationAffinityPrefix, read: readAffinityPrefix, otherwise: "each client counts by itself",
			values:  "prefix lengths, for example `/24,/64`: up to /32 for IPv4, above for IPv6",
			example: "/24,/64",
			meaning: "clients of one network count as one for `sessionAffinity: ClientIP`",
		},
		{
			key: annotationPrefix + "one-packet", aspect: sync.OfOnePacket, read: readOnePacket, otherwise: "a sender's datagrams stay together",
			values:  "`true` or `false`",
			example: "true",
			meaning: "each UDP datagram is scheduled by itself: for senders that wait for no answer and keep their source port, such as syslog. For `externalTrafficPolicy: Local` with rr or wrr and without session affinity; answers do not come back from the node's address",
		},
		{
			key: annotationPrefix + "drain-timeout", read: readDrainTimeout, otherwise: "the node's --drain-timeout is used",
			values:  "a duration from 1s to 24h",
			example: "30m",
			meaning: "an endpoint that is gone keeps its TCP and SCTP connections for this long at most, instead of the node's `--drain-timeout`. It holds for the Service's deletion too, unless the agent restarts meanwhile. What terminates and still serves has no such bound, and UDP none to wait for",
		},
		{
			key: annotationExtraPorts, read: readExtraPorts, otherwise: "no extra port is opened",
			values:  "`PORT=NAME`, NAME being the name or the number of a port of the Service; separated by commas",
			example: "443=https,80=http",
			meaning: "opens ports beside the node port, on the addresses that serve the Service: only those in `--extra-port-range`, never one that is protected (SSH, the kubelet, the agent itself), that the node itself listens on, or that is another Service's node port. Protocols are those of the Service's ports",
		},
		{
			key: kubeRouterPrefix + "scheduler", insteadOf: annotationScheduler, chooses: true, read: readScheduler, otherwise: "the node's default is used",
			values:  "a name that `--allowed-schedulers` has",
			example: "lc",
			meaning: "as `kube-ipvs.io/scheduler`, for Services that kube-router served",
		},
		{
			key: kubeRouterPrefix + "schedflags", aspect: sync.OfFlags, insteadOf: annotationSchedulerFlags, read: readKubeRouterFlags, otherwise: "the scheduler's defaults are used",
			values:  "`flag-1`, `flag-2`, `flag-3`; separated by commas",
			example: "flag-1,flag-2",
			meaning: "as kube-router reads it, which is for `mh` alone: `flag-2` is `mh-port`; `flag-1` is `mh-fallback`, which is on anyway; `flag-3` means nothing",
		},
	}
}

// readAnnotations reports what is unknown or not in force. A bad value counts as absent, except that a restriction
// closes its Service, also one that is misspelt.
func readAnnotations(svc *corev1.Service, o Options, r *report) wanted {
	var w wanted
	rangesOfSpec(svc, o, &w, r)
	if only(svc.Annotations, isRead) == nil {
		return w
	}
	for _, a := range annotations() {
		value, there := svc.Annotations[a.key]
		if !there {
			continue
		}
		setting := sync.Setting{Name: a.key, Written: value, Aspect: a.aspect}
		_, instead := svc.Annotations[a.insteadOf]
		switch {
		case instead && a.insteadOf != "": // a manifest may have an annotation without a name
			setting.Why = "not read, since " + a.insteadOf + " is there"
		default:
			inForce, why := a.take(value, o, &w, r)
			setting.InForce, setting.Why = sync.Printable(inForce), sync.Printable(why)
			if a.chooses {
				setting.Scheduler = w.scheduler
			}
		}
		w.settings = append(w.settings, setting)
	}
	if w.weights.byLabel() && len(o.NodeLabels) == 0 { // for people who plan: an agent gets the labels a moment later
		w.inForce(annotationWeights, shortList(w.weights.String()), []string{"no label of any Node is known here, so no entry by label fits"})
	}
	w.checkTogether(svc, r)
	w.readUnknown(svc, r)
	return w
}

// readUnknown reports annotations of ours that do not exist, and those that were probably meant to be ours. Where they are too many to
// be looked at, one of the rest may be a restriction that is misspelt.
func (w *wanted) readUnknown(svc *corev1.Service, r *report) {
	known := knownAnnotations()
	names := map[string]string{} // what stands behind the prefix, by key; "" is for one that has none
	for key := range svc.Annotations {
		name, ours := strings.CutPrefix(key, annotationPrefix)
		switch meant, near := nearPrefix(key); {
		case ours && !slices.Contains(known, name):
			names[key] = name
		case near && probablyMeant(meant) != "":
			names[key] = meant
		case bare(key):
			names[key] = ""
		}
	}
	keys := slices.Sorted(maps.Keys(names))
	if more := len(keys) - maxUnknown; more > 0 {
		keys, w.closed = keys[:maxUnknown], true
		r.skipped("%d more unknown annotations %s* are not looked at, and may be meant to restrict who reaches the Service; "+
			"no node port of it is served until they are removed", more, annotationPrefix)
	}
	for _, key := range keys {
		why := "not read; did you mean " + annotationPrefix + strings.ToLower(key) + "?"
		if bare(key) { // names of others are no reason to close a Service
			r.invalid("annotation %s is %s", key, why)
		} else {
			var restricts bool
			restricts, why = unknown(key, names[key], r)
			w.closed = w.closed || restricts
		}
		w.settings = append(w.settings, sync.Setting{Name: sync.Printable(clip(key, maxWhy)), Written: svc.Annotations[key], Why: sync.Printable(why)})
	}
}

// maxValue is the most bytes of a value that is not long. The API server takes 256 KiB, every change of an endpoint reads
// them again, and each may be an entry with a problem of its own.
const maxValue = 4096

// maxUnknown is how many unknown annotations of a Service are looked at: each has a problem of its own, and there may be thousands.
const maxUnknown = 32

// maxWhy is how much of what is wrong with a value is told, in bytes: it quotes the value.
const maxWhy = 512

// take reads one value, and says what is in force or why it is not.
func (a annotation) take(value string, o Options, w *wanted, r *report) (inForce, why string) {
	err := fmt.Errorf("it has %d bytes, and at most %d are read", len(value), maxValue)
	if a.long || len(value) <= maxValue {
		inForce, err = a.read(strings.TrimSpace(value), o, w)
	}
	if err == nil {
		return inForce, ""
	}
	why = clip(err.Error(), maxWhy)
	var note noteError
	switch {
	case asNote(err, &note): // it is in force, but for what the note says
		r.invalid("annotation %s: %s", a.key, why)
		return inForce, why
	case a.restricts:
		w.closed = true
		r.skipped("annotation %s: %s; no node port of the Service is served until it is mended, since it would be open wider than it asks", a.key, why)
		return "", why + "; the Service is not served"
	}
	r.invalid("annotation %s: %s; %s", a.key, why, a.otherwise)
	return "", why + "; " + a.otherwise
}

// checkTogether reports what makes no sense beside the rest of the Service.
func (w *wanted) checkTogether(svc *corev1.Service, r *report) {
	if w.prefix4+w.prefix6 > 0 && svc.Spec.SessionAffinity != corev1.ServiceAffinityClientIP {
		w.withdraw(annotationAffinityPrefix, "has no effect without sessionAffinity: ClientIP", r)
	}
	switch upper, lower := w.limits.Upper, w.limits.Lower; {
	case lower > 0 && upper == 0:
		w.limits.Lower = 0
		w.withdraw(annotationLowerThreshold, "has no effect without upper-threshold", r)
	case lower > upper:
		w.limits.Lower = 0
		w.withdraw(annotationLowerThreshold, fmt.Sprintf("%d is above the upper threshold %d; three quarters of that are used, as the kernel has it", lower, upper), r)
	}
	if most := w.weights.most(); w.slowStart > 0 && most > maxSlowStartWeight {
		w.slowStart = 0 // weights may be a maintenance, and it would end without a word
		w.withdraw(annotationSlowStart, fmt.Sprintf("weight %d is above %d, which is the most with slow-start; new endpoints get their whole weight at once", most, maxSlowStartWeight), r)
	}
}

// withdraw says that an annotation that could be read is not in force.
func (w *wanted) withdraw(key, why string, r *report) {
	r.invalid("annotation %s: %s", key, why)
	for i := range w.settings {
		if w.settings[i].Name == key {
			w.settings[i].InForce, w.settings[i].Why = "", why
		}
	}
}

// inForce says that less of an annotation is in force than could be read, if there is a reason for it.
func (w *wanted) inForce(key, text string, reasons []string) {
	for i, s := range w.settings {
		if s.Name == key && len(reasons) > 0 {
			if s.Why != "" {
				reasons = append([]string{s.Why}, reasons...)
			}
			w.settings[i].InForce, w.settings[i].Why = sync.Printable(text), sync.Printable(clip(strings.Join(reasons, "; "), maxWhy))
		}
	}
}

// isRead reports whether an annotation is looked at, known or not.
func isRead(key string) bool {
	if strings.HasPrefix(key, annotationPrefix) || strings.HasPrefix(key, kubeRouterPrefix) {
		return true
	}
	_, near := nearPrefix(key)
	return near || bare(key)
}

// restrictions narrow who reaches a Service.
func restrictions() []string {
	return names(func(a annotation) bool { return a.restricts })
}

// knownAnnotations are those of ours, without the prefix.
func knownAnnotations() []string {
	return names(func(annotation) bool { return true })
}

func names(of func(annotation) bool) []string {
	var all []string
	for _, a := range annotations() {
		if name, ours := strings.CutPrefix(a.key, annotationPrefix); ours && of(a) {
			all = append(all, name)
		}
	}
	return all
}
