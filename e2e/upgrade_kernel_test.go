//go:build kernel && upgrade

package e2e

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/agent"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// otherRevisions is where e2e/upgrade puts agents of other revisions, each in a folder that is called as its revision.
const otherRevisions = "/upgrade"

// Node ports of other Services than web: policy Local, with an endpoint on node 1, so that pods see their clients; and one with
// source ranges.
const (
	seenPort   = 30082
	fencedPort = 30083
)

// restrictsSince is the first layout with source ranges. Agents before do not serve a Service that wants some.
const restrictsSince = 3

// version is an agent of some revision.
type version struct {
	name   string
	binary string // today's if empty
	// makes is what it makes of a node that has nothing, and layout that of its nftables table.
	makes  string
	layout int
}

// Under requests of both protocols and with connections that live on, agents of another revision and today's follow each
// other: none of them writes to IPVS, and each makes of the node what it would have made of an empty one.
func TestAgentsOfOtherRevisionsAndTodaysFollowEachOtherWithoutALoss(t *testing.T) {
	for _, other := range others(t) {
		t.Run(other.name, func(t *testing.T) { testFollowing(t, other) })
	}
}

func others(t *testing.T) []*version {
	t.Helper()
	folders, err := os.ReadDir(otherRevisions)
	if err != nil || len(folders) == 0 {
		t.Fatalf("no agent of another revision in %s: %v; run `make upgrade`", otherRevisions, err)
	}
	var all []*version
	for _, f := range folders {
		all = append(all, &version{name: f.Name(), binary: filepath.Join(otherRevisions, f.Name(), "kube-ipvs")})
	}
	return all
}

func testFollowing(t *testing.T, other *version) {
	r := newRig(t, topo.WithSCTP())
	today := &version{name: "today's"}
	seen := r.pod(t, r.Node1, "seen")
	r.serveBoth(t, seen)
	departs := r.pod(t, r.Node2, "departs", topo.WithSCTP())
	_ = r.table(t) // loads the module, whose sysctls are of interest
	watchWrites(t)
	r.makeAnew(t, departs, other, today)
	if other.layout >= restrictsSince {
		r.serve(t, agent.Service{
			Name: "fenced", Annotations: map[string]string{"kube-ipvs.io/source-ranges": "10.9.0.0/16"}, Ports: []agent.Port{{NodePort: fencedPort}},
		}, r.both()...)
		r.makeAnew(t, departs, other, today)
	}
	r.makeAnew(t, departs, today, other)

	r.startVersion(t, other)
	open := r.holdAll(t, departs, seen)
	loads := r.loadAll(t)
	chats := r.chatAll(t)
	written, failed := len(seenWrites(t)), 0 // until the step before: no moment between two of them goes uncounted
	for _, step := range []struct {
		how  string
		end  func(*testing.T)
		next *version
	}{
		{"SIGTERM", r.stop, today},
		{"SIGTERM", r.stop, other},
		{"kill -9", r.kill, today},
		{"kill -9", r.kill, other},
	} {
		t.Run(fmt.Sprintf("%s, and then %s", step.how, step.next.name), func(t *testing.T) {
			step.end(t)
			open.live(t)
			r.startVersion(t, step.next)
			eventually(t, "the node is as this agent wants it", func() error { return differ(step.next.makes, r.made(t, departs)) })
			open.live(t)
			answered(t, loads)
			must(t, r.hasWeight(t, departs, key(r.Node1.A4, frontend.TCP), 0))
			if other.layout >= restrictsSince {
				r.testFenced(t)
			}
			all := seenWrites(t)
			if now := all[written:]; len(now) > 0 {
				t.Errorf("%d writes to IPVS:\n%s", len(now), strings.Join(now, "\n"))
			}
			before := failed
			written, failed = len(all), failures(loads)
			switch n := failed - before; {
			case step.next.layout == 1:
				t.Logf("%d requests failed: this agent does not read whose clients are masqueraded by another layout", n)
			case n > 0:
				t.Errorf("%d requests failed", n)
			}
		})
	}
	for _, load := range loads {
		t.Log(load.Stop())
	}
	if n := failures(loads) - failed; n > 0 {
		t.Errorf("%d requests failed after the last step", n)
	}
	for _, c := range chats {
		c.finish(t)
	}
	open.live(t)
}

// upgraded is a Service that all tests of upgrades serve on TCP, UDP and SCTP.
func upgraded() agent.Service {
	return agent.Service{Name: "web", Ports: []agent.Port{
		{Name: "tcp", NodePort: nodePort},
		{Name: "udp", NodePort: nodePort, Protocol: corev1.ProtocolUDP},
		{Name: "sctp", NodePort: nodePort, Protocol: corev1.ProtocolSCTP},
	}}
}

// serveBoth writes a Service whose clients are masqueraded, and one whose clients are seen, on a pod of its own: IPVS does not
// tell apart the answers of a pod to a client's port that asks it by two node ports at a time.
func (r *rig) serveBoth(t *testing.T, seen *topo.Pod) {
	t.Helper()
	r.serve(t, upgraded(), r.both()...)
	r.serve(t, agent.Service{Name: "local", Policy: corev1.ServiceExternalTrafficPolicyLocal, Ports: []agent.Port{
		{Name: "tcp", NodePort: seenPort},
		{Name: "udp", NodePort: seenPort, Protocol: corev1.ProtocolUDP},
	}}, agent.Ready(seen, r.Node1), agent.Ready(r.web2, r.Node2))
}

// makeAnew notes what an agent makes of a node that has nothing. Meanwhile the second one does not start; afterwards nothing is
// left.
func (r *rig) makeAnew(t *testing.T, departs *topo.Pod, v, second *version) {
	t.Helper()
	before, written := r.sysctls(t), len(seenWrites(t))
	r.startVersion(t, v)
	if len(seenWrites(t)) == written {
		t.Fatal("virtual servers were made, and no write to IPVS was seen")
	}
	v.makes = r.made(t, departs)
	found := layouts.FindStringSubmatch(v.makes)
	if found == nil {
		t.Fatalf("no rule tells its layout:\n%s", v.makes)
	}
	var err error
	v.layout, err = strconv.Atoi(found[1])
	must(t, err)
	t.Logf("%s writes layout %d", v.name, v.layout)

	options := r.options(bothNetworks)
	options.Binary = second.binary
	late, err := agent.Launch(context.WithoutCancel(t.Context()), r.Node1, options)
	must(t, err)
	eventually(t, "the second agent ends", func() error {
		select {
		case <-late.Ended():
			return nil
		default:
			return errors.New("it runs")
		}
	})
	if want := fmt.Sprintf("process %d", r.agent.PID()); !strings.Contains(late.Log(), want) {
		t.Errorf("%s does not name %s:\n%s", second.name, want, late.Log())
	}
	must(t, differ(v.makes, r.made(t, departs)))

	r.stop(t)
	r.run(t, "", cmp.Or(v.binary, "kube-ipvs"), "cleanup", "--state-dir", r.state)
	if table := r.table(t); len(table) > 0 {
		t.Errorf("cleanup of %s has left\n%s", v.name, table)
	}
	if tables := r.run(t, "", "nft", "list", "tables"); strings.Contains(tables, filter.Name) {
		t.Errorf("cleanup of %s has left\n%s", v.name, tables)
	}
	must(t, differ(before, r.sysctls(t)))
}

// testFenced requires that a Service with source ranges, none of which has the client, answers nobody.
func (r *rig) testFenced(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if a, err := topo.Ask(ctx, r.Client, topo.TCP, netip.AddrPortFrom(r.Node1.A4, fencedPort)); err == nil {
		t.Errorf("a client outside of the source ranges is answered by %s", a.Pod)
	}
}

// startVersion runs the agent of a revision, as rig.start does today's.
func (r *rig) startVersion(t *testing.T, v *version) {
	t.Helper()
	begin := time.Now()
	o := r.options(bothNetworks)
	o.Binary = v.binary
	a, err := agent.Start(context.WithoutCancel(t.Context()), r.Node1, o)
	must(t, err)
	r.agent = a
	t.Logf("the agent of %s was ready after %s", v.name, since(begin))
}

// made is what an agent has made of node 1, but for the connections of one pod that drain: what it serves, its nftables table
// and its sysctls.
func (r *rig) made(t *testing.T, departs *topo.Pod) string {
	t.Helper()
	table := r.table(t)
	for k, entry := range table {
		delete(entry.Reals, dst(departs, k.Addr))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n%s\n", table, ruleset(r.run(t, "", "nft", "list", "table", string(filter.Family), filter.Name)))
	return b.String() + r.sysctls(t)
}

func (r *rig) sysctls(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	for _, name := range []string{"conntrack", "expire_nodest_conn", "expire_quiescent_template"} {
		fmt.Fprintf(&b, "%s %s\n", name, r.sysctl(t, "ipv4/vs/"+name))
	}
	return b.String()
}

var layouts = regexp.MustCompile(`"layout (\d+), `)

var elements = regexp.MustCompile(`elements = \{([^}]*)\}`)

// ruleset is what nft lists of a table, with its objects, and the elements of each, in an order that does not depend on how
// they came.
func ruleset(listed string) string {
	listed = elements.ReplaceAllStringFunc(listed, func(s string) string {
		all := strings.Split(elements.FindStringSubmatch(s)[1], ",")
		for i := range all {
			all[i] = strings.TrimSpace(all[i])
		}
		slices.Sort(all)
		return "elements = { " + strings.Join(all, ", ") + " }"
	})
	objects := strings.Split(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(listed), "}")), "\n\n")
	slices.Sort(objects)
	return strings.Join(objects, "\n\n")
}

func differ(want, got string) error {
	if want == got {
		return nil
	}
	return fmt.Errorf("it is\n%s\nand an empty one would be\n%s", got, want)
}

func answered(t *testing.T, loads []*topo.Load) {
	t.Helper()
	for _, load := range loads {
		awaitAnswers(t, load)
	}
}
