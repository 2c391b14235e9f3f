package sync

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kube-ipvs/kube-ipvs/filter"
)

// resolved is a state with the Services on the addresses, and the text of its problems.
func resolved(services []Service, addrs ...string) (*State, []string) {
	s := NewState(Defaults{Scheduler: "rr", Masquerade: filter.MasqueradeAll})
	s.Update(Update{Services: services})
	var list []netip.Addr
	for _, text := range addrs {
		list = append(list, netip.MustParseAddr(text))
	}
	s.SetPlaces(at(list...))
	s.Resolve()
	var texts []string
	for _, p := range s.Problems() {
		texts = append(texts, p.String()+" ["+string(p.Reason)+"]")
	}
	return s, texts
}

func TestProblemsOfAState(t *testing.T) {
	older, other, only4 := service("z-older", 30080), service("other", 30081), service("only4", 30082)
	younger, same, taken := service("younger", 30080), service("zz-same-age", 30080), service("taken", 30081)
	younger.Created = older.Created.Add(time.Hour)
	ageless := service("ageless", 30080)
	ageless.Created = time.Time{}
	only4.Families, taken.Families = IPv4, IPv4
	bad := Service{ID: ServiceID{Namespace: "default", Name: "bad"}, Problems: []Problem{{Object: "Service default/bad", Reason: Invalid, Message: "no port"}}}
	for _, c := range []struct {
		name     string
		services []Service
		addrs    []string
		want     []string
	}{
		{"none", []Service{older, other}, []string{"10.1.0.10", "fd01::10"}, nil},
		{"no Service, no address", nil, nil, nil},
		{
			"a younger Service wants the same port",
			[]Service{younger, older},
			[]string{"10.1.0.10", "10.2.0.10"},
			[]string{"Service default/younger: node port 30080/tcp on 10.1.0.10, 10.2.0.10 belongs to Service default/z-older, which is older: give one of the two another nodePort [conflict]"},
		},
		{
			"one whose age nobody knows",
			[]Service{younger, ageless},
			[]string{"10.1.0.10"},
			[]string{"Service default/younger: node port 30080/tcp on 10.1.0.10 belongs to Service default/ageless, which counts as the oldest without a creationTimestamp: give one of the two another nodePort [conflict]"},
		},
		{
			"one of the same age",
			[]Service{same, older},
			[]string{"10.1.0.10"},
			[]string{"Service default/zz-same-age: node port 30080/tcp on 10.1.0.10 belongs to Service default/z-older, which comes first by name: give one of the two another nodePort [conflict]"},
		},
		{"the addresses of one family alone", []Service{taken, other}, []string{"fd01::10"}, []string{
			"Service default/taken: node port 30081/tcp is not served here: --nodeport-addresses chooses no address of its family on this node [no-address]",
		}},
		{"no address at all is one problem", []Service{older, other, only4}, nil, []string{
			"--nodeport-addresses: no address of this node is chosen, so no node port is served here: kube-ipvs check says what each address lacks [no-address]",
		}},
		{"what the source found", []Service{bad, only4}, []string{"10.1.0.10"}, []string{"Service default/bad: no port [invalid]"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, got := resolved(c.services, c.addrs...)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestServiceIsServedInItsFamiliesOnly(t *testing.T) {
	four, six := service("four", 30080), service("six", 30080)
	four.Families, six.Families = IPv4, IPv6
	s, problems := resolved([]Service{four, six}, "10.1.0.10", "fd01::10")
	want := []string{"tcp://10.1.0.10:30080 rr", "tcp://[fd01::10]:30080 rr"}
	if got := brief(s.Table()); !slices.Equal(got, want) || len(problems) != 0 {
		t.Errorf("have %v and problems %v, want %v", got, problems, want)
	}
	for key, name := range map[string]string{"10.1.0.10": "four", "fd01::10": "six"} {
		if f, ok := s.Want(tcp(key, 30080)); !ok || f.Service.Name != name {
			t.Errorf("%s is served for %v, %v, want %s", key, f.Service, ok, name)
		}
	}
}

func TestProblemsOfTheSourceStandBesideThoseOfServices(t *testing.T) {
	s := NewState(Defaults{Scheduler: "rr", Masquerade: filter.MasqueradeAll})
	file := Problem{Object: "web.yaml", Reason: Invalid, Message: "bad"}
	s.Update(Update{Problems: []Problem{file}})
	if got := s.Problems(); !slices.Equal(got, []Problem{file}) {
		t.Errorf("have %v", got)
	}
	s.Update(Update{})
	if got := s.Problems(); len(got) != 0 {
		t.Errorf("after they are solved: %v", got)
	}
}

// The frontend is the same but for its Service, which is whose problems and retries it counts to.
func TestFrontendThatPassesToAnotherServiceBelongsToIt(t *testing.T) {
	heir := service("heir", 30080, "10.244.1.2:8080")
	heir.Created = heir.Created.Add(time.Hour)
	s, _ := resolved([]Service{web("10.244.1.2:8080"), heir}, "10.1.0.10")
	s.Update(Update{Services: []Service{gone("web")}})
	s.Resolve()
	if f, ok := s.Want(tcp("10.1.0.10", 30080)); !ok || f.Service != heir.ID {
		t.Errorf("served for %v, %v, want %v", f.Service, ok, heir.ID)
	}
}

func TestPrefixOfAllBitsIsTheWholeAddress(t *testing.T) {
	for _, c := range []struct {
		affinity Affinity
		addr     string
		want     uint8
	}{
		{Affinity{Prefix4: 24, Prefix6: 64}, "10.1.0.10", 24},
		{Affinity{Prefix4: 24, Prefix6: 64}, "fd01::10", 64},
		{Affinity{Prefix4: 32, Prefix6: 128}, "10.1.0.10", 0},
		{Affinity{Prefix4: 32, Prefix6: 128}, "fd01::10", 0},
		{Affinity{Prefix6: 32}, "fd01::10", 32},
	} {
		if got := c.affinity.prefix(netip.MustParseAddr(c.addr)); got != c.want {
			t.Errorf("%+v on %s: %d, want %d", c.affinity, c.addr, got, c.want)
		}
	}
}
