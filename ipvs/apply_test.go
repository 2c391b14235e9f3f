package ipvs_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
)

// The plan of the table test below: each verb once, each on a virtual server of its own, which its name tells.
const (
	before = `
		tcp://10.0.0.2:80 rr
		tcp://10.0.0.3:80 rr
		tcp://10.0.0.4:80 rr
		tcp://10.0.0.5:80 rr
			10.244.1.2:80 masq weight 1
		tcp://10.0.0.6:80 rr
			10.244.1.2:80 masq weight 1`
	after = `
		tcp://10.0.0.1:80 rr
			10.244.1.2:80 masq weight 1
		tcp://10.0.0.2:80 wrr
		tcp://10.0.0.4:80 rr
			10.244.1.2:80 masq weight 1
		tcp://10.0.0.5:80 rr
			10.244.1.2:80 masq weight 2
		tcp://10.0.0.6:80 rr`
)

// outcome says what became of one operation that met one error: where it stands in the result.
type outcome string

const (
	done      outcome = "done"
	doneDoubt outcome = "done, uncertain"
	asSet     outcome = "tried as set" // The set fails here, since in truth nothing exists: uncertain.
	doubt     outcome = "uncertain"
	failed    outcome = "failed, uncertain"
)

func TestApplyMeetsEveryErrorOfEveryOperation(t *testing.T) {
	errnos := []error{
		syscall.EEXIST, syscall.ESRCH, syscall.ENOENT, syscall.EINVAL, syscall.ERANGE, syscall.EPERM, syscall.EINTR,
		syscall.ENOMEM, syscall.ENOBUFS, syscall.EAFNOSUPPORT, ipvs.ErrUnknown, io.ErrUnexpectedEOF,
	}
	expected := map[ipvs.Verb]map[error]outcome{
		ipvs.AddVirtual: {syscall.EEXIST: asSet},
		ipvs.SetVirtual: {syscall.ESRCH: doubt},
		ipvs.DelVirtual: {syscall.ESRCH: done, syscall.ENOENT: done},
		ipvs.AddReal:    {syscall.EEXIST: asSet, syscall.ESRCH: doubt},
		ipvs.SetReal:    {syscall.ESRCH: doubt, syscall.ENOENT: doubt},
		ipvs.DelReal:    {syscall.ESRCH: doneDoubt, syscall.ENOENT: done},
	}
	for _, verb := range ipvs.Verbs() {
		for _, errno := range errnos {
			want, tolerated := expected[verb][errno]
			if !tolerated {
				want = failed
			}
			if errors.Is(errno, ipvs.ErrUnknown) {
				want = doubt
			}
			t.Run(fmt.Sprintf("%s, %v", verb, errno), func(t *testing.T) { oneFault(t, verb, errno, want) })
		}
	}
}

func oneFault(t *testing.T, verb ipvs.Verb, errno error, want outcome) {
	have := mustParse(t, before)
	plan := ipvs.Diff(have, mustParse(t, after))
	i := slices.IndexFunc(plan, func(op ipvs.Op) bool { return op.Verb == verb })
	op := plan[i]
	handle := ipvsfake.Faulty(ipvsfake.New(ipvsfake.WithTable(have)), ipvsfake.Faults{
		Once: []ipvsfake.Fault{{Verb: verb, Key: op.Key, Real: op.RealKey, Err: errno}},
	})

	result := ipvs.Apply(t.Context(), handle, plan)

	if left := handle.Unconsumed(); len(left) != 0 {
		t.Fatalf("faults that did not happen: %v", left)
	}
	var got outcome
	switch inDone, inDoubt := slices.Contains(result.Done, op), slices.Contains(result.Uncertain, op.Key); {
	case len(result.Failed) == 1 && result.Failed[0].Op == op && errors.Is(result.Failed[0], errno) && inDoubt && !inDone:
		got = failed
	case len(result.Failed) != 0:
		t.Fatalf("failed: %v", result.Failed)
	case inDone && inDoubt:
		got = doneDoubt
	case inDone:
		got = done
	case inDoubt && errors.Is(errno, syscall.EEXIST):
		got = asSet
	case inDoubt:
		got = doubt
	}
	if got != want {
		t.Errorf("the operation is %q, want %q; result: %+v", got, want, result)
	}
	// Nothing but the real server of a virtual server that was not made suffers.
	others := slices.DeleteFunc(slices.Clone(plan), func(o ipvs.Op) bool {
		return o == op || o.Key == op.Key && verb == ipvs.AddVirtual
	})
	for _, o := range others {
		if !slices.Contains(result.Done, o) {
			t.Errorf("%s was not done because %s failed", o, op)
		}
	}
	if len(result.Uncertain) > 1 {
		t.Errorf("uncertain: %v", result.Uncertain)
	}
}

func TestApplySetsWhatExistsAlready(t *testing.T) {
	there := `
		tcp://10.1.0.10:80 wlc
			10.244.1.2:80 masq weight 0
			10.244.1.9:80 masq weight 7`
	want := mustParse(t, `
		tcp://10.1.0.10:80 rr
			10.244.1.2:80 masq weight 1
			10.244.1.3:80 masq weight 1`)
	kernel := ipvsfake.New(ipvsfake.WithTable(mustParse(t, there)))

	result := ipvs.Apply(t.Context(), kernel, ipvs.Diff(nil, want))

	if diff := cmp.Diff(`set-virtual tcp://10.1.0.10:80 rr
add-real tcp://10.1.0.10:80 10.244.1.3:80 masq weight 1
set-real tcp://10.1.0.10:80 10.244.1.2:80 masq weight 1
`, result.Done.String()); diff != "" {
		t.Errorf("done (-want +got):\n%s", diff)
	}
	if len(result.Failed) != 0 || !slices.Equal(result.Uncertain, want.Keys()) {
		t.Errorf("failed %v, uncertain %v: the real server nobody knew of must come to light", result.Failed, result.Uncertain)
	}
	wantTable(t, "kernel", kernel.Table(), mustParse(t, `
		tcp://10.1.0.10:80 rr
			10.244.1.2:80 masq weight 1
			10.244.1.3:80 masq weight 1
			10.244.1.9:80 masq weight 7`))
}

func TestApplyNeverInterruptsServiceAlthoughTheTableWasReadWithGaps(t *testing.T) {
	there := mustParse(t, `
		tcp://10.1.0.10:80 rr
			10.244.1.2:80 masq weight 1
			10.244.1.3:80 masq weight 0`)
	turned := `
		tcp://10.1.0.10:80 rr
			10.244.1.2:80 masq weight 0
			10.244.1.3:80 masq weight 1`
	for name, test := range map[string]struct{ read, want string }{
		"the server that takes over was not seen": {
			read: "tcp://10.1.0.10:80 rr\n10.244.1.2:80 masq weight 1",
			want: "tcp://10.1.0.10:80 rr\n10.244.1.3:80 masq weight 1",
		},
		"the server that leaves was not seen": {
			read: "tcp://10.1.0.10:80 rr\n10.244.1.3:80 masq weight 0",
			want: turned,
		},
		"nothing was seen": {want: turned},
	} {
		t.Run(name, func(t *testing.T) {
			want := mustParse(t, test.want)
			kernel := ipvsfake.New(ipvsfake.WithTable(there))
			handle := watched{kernel, func(i int, op ipvs.Op) { stillServes(t, i, op, there, want, kernel.Table()) }}
			ipvs.Apply(t.Context(), handle, ipvs.Diff(mustParse(t, test.read), want))
			wantTable(t, "kernel", kernel.Table(), want)
		})
	}
}

func TestApplySendsNothingForAVirtualServerThatCouldNotBeMade(t *testing.T) {
	kernel := ipvsfake.New(ipvsfake.WithSchedulers("rr"))
	want := mustParse(t, `
		tcp://10.1.0.10:80 mh
			10.244.1.2:80 masq weight 1
		tcp://10.1.0.11:80 rr
			10.244.1.2:80 masq weight 1`)
	result := ipvs.Apply(t.Context(), kernel, ipvs.Diff(nil, want))
	if kernel.Writes() != 3 {
		t.Errorf("%d operations were sent, want 3: two virtual servers, one real server", kernel.Writes())
	}
	if len(result.Failed) != 1 || !ipvs.IsUnknownScheduler(result.Failed[0]) || ipvs.IsGone(result.Failed[0]) {
		t.Errorf("failed: %v", result.Failed)
	}
	wantTable(t, "kernel", kernel.Table(), want.Only(want.Keys()[1:]))
}

func TestApplySendsNothingForAVirtualServerThatIsGone(t *testing.T) {
	kernel := ipvsfake.New() // somebody deleted what was read
	have := mustParse(t, `
		tcp://10.1.0.10:80 rr
			10.244.1.2:80 masq weight 1
			10.244.1.4:80 masq weight 1`)
	want := mustParse(t, `
		tcp://10.1.0.10:80 wrr
			10.244.1.2:80 masq weight 2
			10.244.1.3:80 masq weight 1
		tcp://10.1.0.11:80 rr
			10.244.1.2:80 masq weight 1`)
	var sent []string
	handle := watched{kernel, func(_ int, op ipvs.Op) { sent = append(sent, op.String()) }}
	result := ipvs.Apply(t.Context(), handle, ipvs.Diff(have, want))
	if diff := cmp.Diff([]string{
		"set-virtual tcp://10.1.0.10:80 wrr",
		"add-virtual tcp://10.1.0.11:80 rr",
		"add-real tcp://10.1.0.11:80 10.244.1.2:80 masq weight 1",
	}, sent); diff != "" {
		t.Errorf("sent (-want +got):\n%s", diff)
	}
	if len(result.Failed) != 0 || !slices.Equal(result.Uncertain, want.Keys()[:1]) {
		t.Errorf("failed %v, uncertain %v", result.Failed, result.Uncertain)
	}
}

func TestAResultOfTwoPlansHasWhatBecameOfEach(t *testing.T) {
	type keys = []frontend.Key
	one, two := mustParse(t, "tcp://10.1.0.10:80 rr").Keys()[0], mustParse(t, "tcp://10.1.0.11:80 rr").Keys()[0]
	first, second := ipvs.Op{Verb: ipvs.DelVirtual, Key: one}, ipvs.Op{Verb: ipvs.DelVirtual, Key: two}
	bad, worse := &ipvs.OpError{Op: first, Err: syscall.EPERM}, &ipvs.OpError{Op: second, Err: syscall.ENOMEM}
	before := ipvs.Result{Done: ipvs.Plan{first}, Failed: []*ipvs.OpError{bad}, Uncertain: keys{two}}
	for name, c := range map[string]struct{ next, want ipvs.Result }{
		"nothing":          {ipvs.Result{}, before},
		"all done":         {ipvs.Result{Done: ipvs.Plan{second}}, ipvs.Result{Done: ipvs.Plan{first, second}, Failed: before.Failed, Uncertain: before.Uncertain}},
		"all refused":      {ipvs.Result{Failed: []*ipvs.OpError{worse}}, ipvs.Result{Done: before.Done, Failed: []*ipvs.OpError{bad, worse}, Uncertain: before.Uncertain}},
		"all unknown":      {ipvs.Result{Uncertain: keys{one}}, ipvs.Result{Done: before.Done, Failed: before.Failed, Uncertain: keys{one, two}}},
		"the same unknown": {ipvs.Result{Uncertain: keys{two}}, before},
	} {
		if got := before.And(c.next); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

// A virtual server that exists with another scheduler, and the one that is wanted is unknown: its real servers are
// kept up to date all the same.
func TestApplyGoesOnWhenAnExistingVirtualServerCannotBeSet(t *testing.T) {
	there := mustParse(t, "tcp://10.1.0.10:80 rr")
	kernel := ipvsfake.New(ipvsfake.WithTable(there), ipvsfake.WithSchedulers("rr"))
	want := mustParse(t, "tcp://10.1.0.10:80 mh\n10.244.1.2:80 masq weight 1")
	result := ipvs.Apply(t.Context(), kernel, ipvs.Diff(nil, want))
	if len(result.Failed) != 1 || result.Failed[0].Op.Verb != ipvs.SetVirtual {
		t.Errorf("failed: %v", result.Failed)
	}
	wantTable(t, "kernel", kernel.Table(), mustParse(t, "tcp://10.1.0.10:80 rr\n10.244.1.2:80 masq weight 1"))
}

func TestApplyAfterTheEndOfItsContextSendsNothing(t *testing.T) {
	kernel := ipvsfake.New()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	result := ipvs.Apply(ctx, kernel, ipvs.Diff(nil, mustParse(t, after)))
	if len(result.Done)+len(result.Failed)+len(result.Uncertain)+kernel.Writes() != 0 {
		t.Errorf("%d writes, result %+v", kernel.Writes(), result)
	}
}

// Whenever ctx ends, Done and Uncertain tell the truth about the kernel, and nothing counts as failed.
func TestApplyTellsWhatWasDoneWhenItsContextEnds(t *testing.T) {
	want := mustParse(t, after)
	for _, there := range []string{before, after} {
		have := mustParse(t, before)
		plan := ipvs.Diff(have, want)
		for n := range plan {
			kernel := ipvsfake.New(ipvsfake.WithTable(mustParse(t, there)))
			ctx, cancel := context.WithCancel(t.Context())
			sent := 0
			handle := watched{kernel, func(int, ipvs.Op) {
				if sent++; sent == n {
					cancel()
				}
			}}
			result := ipvs.Apply(ctx, handle, plan)
			cancel()
			if len(result.Failed) != 0 {
				t.Errorf("ended after %d operations: failed %v", n, result.Failed)
			}
			got := have.Clone()
			for _, op := range result.Done {
				got.Commit(op)
			}
			truth := kernel.Table()
			if there == after {
				// The kernel was never as believed: only what is certain has to agree.
				certain := slices.DeleteFunc(keysOf(result.Done), func(k frontend.Key) bool { return slices.Contains(result.Uncertain, k) })
				got, truth = got.Only(certain), truth.Only(certain)
			}
			wantTable(t, fmt.Sprintf("ended after %d operations", n), got, truth)
		}
	}
}

func TestPlanOfDiffNeedsThreeCallsAtMost(t *testing.T) {
	have, want := mustParse(t, before), mustParse(t, after)
	calls := &counted{Handle: ipvsfake.New(ipvsfake.WithTable(have))}
	if result := ipvs.Apply(t.Context(), calls, ipvs.Diff(have, want)); len(result.Uncertain) != 0 {
		t.Fatalf("uncertain: %v", result.Uncertain)
	}
	if calls.n != 3 {
		t.Errorf("%d calls", calls.n)
	}
	calls.n = 0
	ipvs.Apply(t.Context(), calls, ipvs.Diff(want, nil))
	if calls.n != 1 {
		t.Errorf("%d calls to delete everything", calls.n)
	}
	calls.n = 0
	ipvs.Apply(t.Context(), calls, nil)
	if calls.n != 0 {
		t.Errorf("%d calls for no plan", calls.n)
	}
}

type counted struct {
	ipvs.Handle
	n int
}

func (c *counted) Do(ctx context.Context, ops []ipvs.Op) []error {
	c.n++
	return c.Handle.Do(ctx, ops)
}
