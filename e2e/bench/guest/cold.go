package main

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"github.com/kube-ipvs/kube-ipvs/e2e/bench/result"
)

// cold measures the time from the start of the process to the kernel that has everything. It returns whether the kernel had.
func (s *session) cold(ctx context.Context) (whole bool, err error) {
	if err := s.start(s.plan.both); err != nil {
		return false, err
	}
	defer s.profile(ctx, result.Cold)()
	limited, stop := s.limit(ctx, s.job.Cutoff)
	defer stop()
	at, precision, err := s.observer.Complete(limited, s.now.want(s.all()))
	cut, err := cutOff(limited, err)
	if err != nil {
		return false, err
	}
	if cut {
		at = time.Now()
	}
	sample := s.sample(result.Cold, result.Seconds, at.Sub(s.process.Started()).Seconds())
	if sample.AtLeast = cut; !cut {
		sample.Note = fmt.Sprintf("seen at most %v late", precision.Round(time.Millisecond))
	}
	usage, err := s.process.Usage()
	if err != nil {
		return false, err
	}
	sample.Usage = &result.Usage{CPU: usage.CPU} // nothing else was counted
	s.emit(sample)
	return !cut, nil
}

// memory reads the resident set.
func (s *session) memory(m result.Measure) error {
	now, peak, err := s.process.Memory()
	if err != nil {
		return err
	}
	value := now
	if m == result.MemoryPeak {
		value = peak
	}
	sample := s.sample(m, result.Bytes, float64(value))
	if m == result.Memory {
		sample = s.atRest(sample)
	}
	s.emit(sample)
	return nil
}

// steady counts what the program does while nothing changes.
func (s *session) steady(ctx context.Context) error {
	watch := s.job.ProxySteady
	if s.subject.Name == result.KubeIPVS {
		watch = s.job.Steady
	}
	if err := pause(ctx, s.untilSteady(time.Now(), watch)); err != nil {
		return err
	}
	if err := s.process.Watch(true); err != nil {
		return err
	}
	before, err := s.process.Usage()
	if err != nil {
		return err
	}
	began := time.Now()
	reads, after, err := s.eachSecond(ctx, before, watch)
	if err != nil {
		return err
	}
	took := time.Since(began)
	if err := s.process.Watch(false); err != nil {
		return err
	}
	s.emit(s.atRest(s.steadySample(minus(after, before), took, watch)))
	if s.subject.Name == result.KubeIPVS {
		s.emit(s.sample(result.AuditReads, result.Count, reads...))
	}
	return nil
}

// steadySample is the CPU time of a minute, from what was used while the program was watched, for as long as was asked for or a little longer.
func (s *session) steadySample(used result.Usage, took, asked time.Duration) result.Sample {
	sample := s.sample(result.Steady, result.Seconds, used.CPU.Seconds()*float64(time.Minute)/float64(took))
	sample.Usage, sample.Watched = &used, took
	if asked != time.Minute {
		sample.Note = fmt.Sprintf("watched for %v: the value is for a minute, the counts are not", took.Round(time.Second))
	}
	return sample
}

// eachSecond watches, and returns how many requests read the IPVS table in each second.
func (s *session) eachSecond(ctx context.Context, before result.Usage, watch time.Duration) (reads []float64, after result.Usage, err error) {
	for range max(1, int(watch/time.Second)) {
		if err := pause(ctx, time.Second); err != nil {
			return nil, after, err
		}
		if after, err = s.process.Usage(); err != nil {
			return nil, after, err
		}
		reads = append(reads, float64(minus(after, before).IPVSReads))
		before = after
	}
	return reads, after, nil
}

// restart ends the program as an update does and starts it again, with nothing to change: with counters, and before that without, if they
// would matter to the time.
func (s *session) restart(ctx context.Context) error {
	sample := s.sample(result.Restart, result.Seconds)
	counted := []bool{true}
	if s.plan.apart {
		counted = []bool{false, true}
	}
	for i, counted := range counted {
		took, cut, err := s.startAgain(ctx, counted)
		if err != nil {
			return err
		}
		if i == 0 {
			sample.Values, sample.AtLeast = []float64{took.Seconds()}, cut
		}
	}
	used, err := s.process.Usage()
	if err != nil {
		return err
	}
	if s.plan.restart {
		sample.Usage, sample.Note = &used, s.restartNote(used)
		s.emit(sample)
	}
	return s.process.Watch(false)
}

// restartNote says how a restart was timed and counted. At its start kube-ipvs asks for a virtual server that no kernel makes, to hear
// whether the scheduler is there: such a request is counted as a write, as any that asks for one.
func (s *session) restartNote(used result.Usage) string {
	note := "to the end of its first pass, by its own metrics; counted with what follows it"
	if s.plan.apart {
		note += ", in a start of its own"
	}
	if s.subject.Name == result.KubeIPVS && used.IPVSWrites > 0 {
		note += "; one of the requests counted as writes asks whether the scheduler exists: it is refused, and changes nothing"
	}
	return note
}

// startAgain ends the program and starts it again, and returns how long its first pass took when nothing is left to do.
func (s *session) startAgain(ctx context.Context, counted bool) (took time.Duration, cut bool, err error) {
	if err := s.process.End(syscall.SIGTERM, endPatience); err != nil {
		return 0, false, err
	}
	if err := s.start(counted); err != nil {
		return 0, false, err
	}
	if counted {
		err = s.process.Watch(true)
	} else {
		defer s.profile(ctx, result.Restart)()
	}
	if err != nil {
		return 0, false, err
	}
	limited, stop := s.limit(ctx, s.job.Cutoff)
	defer stop()
	at, err := s.passes(limited)
	if cut, err = cutOff(limited, err); err != nil {
		return 0, false, err
	}
	if cut {
		at = time.Now()
	}
	s.audit = firstRegular(s.process.Started(), at)
	return at.Sub(s.process.Started()), cut, s.settle(ctx)
}
