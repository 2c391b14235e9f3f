package sync

import (
	"errors"
	"strings"
	stdsync "sync"
	"testing"

	"github.com/go-logr/logr/funcr"

	"github.com/kube-ipvs/kube-ipvs/allocator"
	"github.com/kube-ipvs/kube-ipvs/filter/filtertest"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvsfake"
)

// reserver is a Config.Reserve that notes how it was called, and what was logged of its error.
type reserver struct {
	mu          stdsync.Mutex
	calls, told int
	last        string
	fault       error
}

func (r *reserver) reserve(ports *allocator.Ports) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls, r.last = r.calls+1, ports.String()
	return r.fault
}

func (r *reserver) log(_, args string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fault != nil && strings.Contains(args, r.fault.Error()) {
		r.told++
	}
}

// take is what was noted since it was asked last; from now on reserve returns fault.
func (r *reserver) take(fault error) (calls, told int, last string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	calls, told, last = r.calls, r.told, r.last
	r.calls, r.told, r.fault = 0, 0, fault
	return calls, told, last
}

// Whoever writes the setting writes the whole of it: the sysctl.d of somebody else may come after us.
func TestPortsAreReservedWhenTheyChangeAndWithEveryAudit(t *testing.T) {
	bubble(t, func(t *testing.T, kernel *ipvsfake.Kernel, nft *filtertest.Fake) {
		var r reserver
		g := start(t, kernel, nft, func(c *Config) { c.Reserve = r.reserve })
		g.log = funcr.New(r.log, funcr.Options{})
		g.serve(service("web", 30080, stays))
		for _, step := range []struct {
			what  string
			do    func()
			calls int
			last  string
		}{
			{"at the start", func() {}, 1, "30080"},
			{"another endpoint", func() { g.deliver(service("web", 30080, stays, leaves)) }, 0, "30080"},
			{"another Service", func() { g.deliver(service("api", 31000, stays)) }, 1, "30080,31000"},
			{"an audit", func() { g.after(g.SyncPeriod) }, 1, "30080,31000"},
			{"a Service less", func() { g.deliver(gone("api")) }, 1, "30080"},
		} {
			step.do()
			if calls, _, last := r.take(nil); calls != step.calls || last != step.last {
				t.Errorf("%s: %d calls with %s, want %d with %s", step.what, calls, last, step.calls, step.last)
			}
		}
		r.take(errors.New("read-only file system"))
		g.after(4 * g.SyncPeriod)
		if calls, told, _ := r.take(nil); calls != 4 || told != 1 {
			t.Errorf("it is tried %d times and told %d times, want 4 and 1", calls, told)
		}
	})
}
