package ipvstest

import (
	"errors"
	"syscall"
	"time"

	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

// settings are timeouts and schedulers.
func settings() []promise {
	return []promise{
		{"timeouts begin with those of the kernel", func(s subject) {
			s.timeouts(ipvs.Timeouts{TCP: 15 * time.Minute, TCPFin: 2 * time.Minute, UDP: 5 * time.Minute})
		}},
		{"timeouts read back as written, and zero keeps what is there", func(s subject) {
			s.set(ipvs.Timeouts{TCP: 2 * time.Hour, TCPFin: time.Second, UDP: 90 * time.Second})
			s.set(ipvs.Timeouts{TCPFin: 61 * time.Second})
			s.timeouts(ipvs.Timeouts{TCP: 2 * time.Hour, TCPFin: 61 * time.Second, UDP: 90 * time.Second})
			s.set(ipvs.Timeouts{TCP: time.Minute, UDP: time.Minute})
			s.set(ipvs.Timeouts{})
			s.timeouts(ipvs.Timeouts{TCP: time.Minute, TCPFin: 61 * time.Second, UDP: time.Minute})
		}},
		{"a timeout that is not a number of seconds is EINVAL and changes none", func(s subject) {
			for _, d := range []time.Duration{-time.Second, time.Millisecond, time.Second + 1} {
				err := s.SetTimeouts(s.Context(), ipvs.Timeouts{TCP: time.Hour, UDP: d})
				if !errors.Is(err, syscall.EINVAL) {
					s.Errorf("%s: %v, want EINVAL", d, err)
				}
			}
			s.timeouts(ipvs.Timeouts{TCP: 15 * time.Minute, TCPFin: 2 * time.Minute, UDP: 5 * time.Minute})
		}},
		{"a scheduler is found before any virtual server uses it, and nothing is left behind", func(s subject) {
			for _, name := range []string{"rr", "wrr", "sh", "mh", "rr"} {
				if err := s.ProbeScheduler(s.Context(), name); err != nil {
					s.Errorf("probe %s: %v", name, err)
				}
			}
			s.has(ipvs.Table{})
		}},
		{"an unknown scheduler is named as such, and nothing is left behind", func(s subject) {
			for _, name := range []string{"nosuch", "", "RR", "a-name-that-is-too-long", "../rr", "rr "} {
				if err := s.ProbeScheduler(s.Context(), name); !ipvs.IsUnknownScheduler(err) {
					s.Errorf("probe %q: %v, want an unknown scheduler", name, err)
				}
			}
			s.has(ipvs.Table{})
		}},
		{"a probe does not disturb what is there", func(s subject) {
			s.must(addVirtual(key4(), rr()), addVirtual(key6(), rr()))
			want := s.list()
			for _, name := range []string{"wrr", "nosuch"} {
				_ = s.ProbeScheduler(s.Context(), name) // what it says is the promise of others
			}
			s.has(want)
		}},
	}
}

func (s subject) set(t ipvs.Timeouts) {
	s.Helper()
	if err := s.SetTimeouts(s.Context(), t); err != nil {
		s.Fatal(err)
	}
}

func (s subject) timeouts(want ipvs.Timeouts) {
	s.Helper()
	got, err := s.Timeouts(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	if got != want {
		s.Errorf("timeouts are %v, want %v", got, want)
	}
}
