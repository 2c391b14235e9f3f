package sync

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/kube-ipvs/kube-ipvs/allocator"
	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// Problems are all that there are now, those of the sources first, then by Service.
func (s *State) Problems() []Problem {
	all := s.general()
	for _, id := range slices.SortedFunc(maps.Keys(s.problems), ServiceID.Compare) {
		all = append(all, s.problems[id]...)
	}
	return all
}

// general are the problems that belong to no Service.
func (s *State) general() []Problem {
	all := slices.Clone(s.source)
	if s.untuned != "" {
		all = append(all, Problem{Object: "IPVS", Reason: KernelRefused, Message: s.untuned})
	}
	if len(s.places) == 0 && len(s.services) > 0 {
		all = append(all, Problem{
			Object: "--nodeport-addresses", Reason: NoAddress,
			Message: "no address of this node is chosen, so no node port is served here: kube-ipvs check says what each address lacks",
		})
	}
	return all
}

// News are the Services whose problems changed since the last call, with the problems that they have now.
func (s *State) News() map[ServiceID][]Problem {
	news := make(map[ServiceID][]Problem, len(s.news))
	for id := range s.news {
		news[id] = s.problems[id]
	}
	s.news = emptied(s.news)
	return news
}

// assess collects the problems of one Service: those that its source found, and those that it has on this node.
func (s *State) assess(id ServiceID) {
	svc := s.services[id]
	found := slices.Clone(svc.Problems)
	if why := s.leftOutBecause(id); why != "" {
		found = append(found, s.boundProblem(id, why)) // what else there is to say of its ports has to wait
	} else {
		places := s.placesOf(svc)
		for _, port := range svc.Ports {
			found = append(found, s.portProblems(svc, port, port.keysAt(places))...)
		}
		found = append(found, s.checkProblems(id, svc)...)
	}
	slices.SortFunc(found, compareProblems)
	found = slices.Compact(found)
	if slices.Equal(found, s.problems[id]) {
		return
	}
	s.news[id] = struct{}{}
	if len(found) == 0 {
		delete(s.problems, id)
		return
	}
	s.problems[id] = found
}

// portProblems are those that a port has with the frontends that it asks for.
func (s *State) portProblems(svc Service, port ServicePort, keys []frontend.Key) []Problem {
	var found []Problem
	object := "Service " + svc.ID.String()
	if len(keys) == 0 && len(s.places) > 0 && svc.Networks == nil { // networks that this node has not are a choice; without any address there is one problem, not one for each port
		found = append(found, Problem{
			Object: object, Reason: NoAddress,
			Message: fmt.Sprintf("%s %d/%s is not served here: --nodeport-addresses chooses no address of its family on this node",
				portWord(port), port.NodePort, port.Protocol),
		})
	}
	if unknown := s.podless & familiesOf(keys); unknown != 0 && port.Policy == Local {
		found = append(found, Problem{
			Object: object, Reason: NoPodNetwork,
			Message: fmt.Sprintf("node port %d/%s: which pods are on this node is not known for %s, so they count as clients from outside "+
				"(externalTrafficPolicy: Local): its Node object names no such network in spec.podCIDRs, choose another --detect-local-mode",
				port.NodePort, port.Protocol, unknown),
		})
	}
	for _, r := range s.rivals(svc, keys, port.kind()) {
		found = append(found, Problem{
			Object: object, Reason: Conflict, Skipped: true,
			Message: fmt.Sprintf("%s %d/%s on %s belongs to Service %s, %s: give one of the two another %s",
				portWord(port), port.NodePort, port.Protocol, strings.Join(r.addrs, ", "), r.holder, r.why, portField(port)),
		})
	}
	found = append(found, s.inTheWay(object, svc, port, keys)...)
	if !port.Extra && s.NodePortRange != (allocator.Range{}) && !s.NodePortRange.Contains(port.NodePort) {
		found = append(found, Problem{
			Object: object, Reason: OutOfRange,
			Message: fmt.Sprintf("node port %d/%s is outside of the API server's range %s (--service-node-port-range): it is served all the same, but nobody keeps it from being used twice",
				port.NodePort, port.Protocol, s.NodePortRange),
		})
	}
	found = append(found, s.idleSettings(object, port)...)
	found = append(found, s.crowdProblems(object, port, familiesOf(keys))...)
	if _, refused := s.refused[port.Scheduler]; refused {
		found = append(found, Problem{
			Object: object, Reason: KernelRefused,
			Message: fmt.Sprintf("node port %d/%s is served with scheduler %s: this node's kernel has no scheduler %q (module ip_vs_%s)",
				port.NodePort, port.Protocol, s.Scheduler, port.Scheduler, port.Scheduler),
		})
	}
	return found
}

// inTheWay are the obstacles to those frontends of a port that its Service holds, one problem for each kind of them.
func (s *State) inTheWay(object string, svc Service, port ServicePort, keys []frontend.Key) []Problem {
	addrs := map[obstacle][]string{}
	for _, key := range keys {
		if o := s.obstacleTo(port, key); o.what != "" && s.ledger.Holds(svc.ID, allocator.Claim{Key: key, Kind: port.kind()}) {
			addrs[o] = append(addrs[o], key.Addr.String())
		}
	}
	var found []Problem
	for o, list := range addrs {
		found = append(found, obstacleProblem(object, port, o.what, o.blocks, strings.Join(list, ", ")))
	}
	return found
}

// idleSettings are the choices of a port that make no difference here.
func (s *State) idleSettings(object string, port ServicePort) []Problem {
	var found []Problem
	for _, a := range aspects() {
		if what, why := port.idle(a, s.schedulerOf(port)); why != "" {
			found = append(found, Problem{Object: object, Reason: Unsupported, Message: what + " no effect " + why})
		}
	}
	return found
}

// rival is another Service that holds frontends which a Service claims.
type rival struct {
	holder ServiceID
	addrs  []string // of the frontends
	why    string
}

// rivals are the holders of those keys that svc claims by a kind and does not hold.
func (s *State) rivals(svc Service, keys []frontend.Key, kind allocator.Kind) []rival {
	var all []rival
	for _, key := range keys {
		holder, ok := s.ledger.Holder(key)
		if !ok || holder.ID == svc.ID {
			continue
		}
		i := slices.IndexFunc(all, func(r rival) bool { return r.holder == holder.ID })
		if i < 0 {
			i, all = len(all), append(all, rival{holder: holder.ID})
		}
		all[i].addrs = append(all[i].addrs, key.Addr.String())
		switch {
		case !s.ledger.Holds(holder.ID, allocator.Claim{Key: key, Kind: kind}):
			all[i].why = "which has it as a " + s.ledger.Claimants(key)[0].Kind.String()
		case holder.Created.IsZero() && !svc.Created.IsZero():
			all[i].why = "which counts as the oldest without a creationTimestamp"
		case holder.Created.Before(svc.Created):
			all[i].why = "which is older"
		default:
			all[i].why = "which comes first by name"
		}
	}
	return all
}

func familiesOf(keys []frontend.Key) Families {
	var f Families
	for _, key := range keys {
		f |= FamiliesOf([]netip.Prefix{netip.PrefixFrom(key.Addr, 0)})
	}
	return f
}

func compareProblems(a, b Problem) int {
	return cmp.Or(cmp.Compare(a.Object, b.Object), cmp.Compare(a.Message, b.Message))
}
