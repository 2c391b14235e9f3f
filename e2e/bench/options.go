package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/kube-ipvs/kube-ipvs/e2e/bench/job"
	"github.com/kube-ipvs/kube-ipvs/e2e/bench/objects"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/experiment"
)

// options are the command line.
type options struct {
	job       job.Job
	out       string
	docs      string
	writeDocs bool
	memory    string
	logs      bool
}

var errHelp = flag.ErrHelp

// parse reads the command line.
func parse(args []string) (options, error) { return parseTo(os.Stderr, args) }

func parseTo(usage io.Writer, args []string) (options, error) {
	o := options{job: job.Default()}
	if quick(args) {
		o.job = job.Quick()
	}
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(usage)
	quickly := f.Bool("quick", false, "everything once on few objects, for a test of the benchmark: other flags change what it takes")
	f.Func("sizes", fmt.Sprintf("numbers of Services, ascending, at most %d (default %v)", objects.MaxServices, o.job.Plan.Sizes), numbers(&o.job.Plan.Sizes))
	f.IntVar(&o.job.Plan.Endpoints, "endpoints", o.job.Plan.Endpoints, "endpoints of each Service")
	f.Uint64Var(&o.job.Plan.Seed, "seed", o.job.Plan.Seed, "of node ports, addresses and the order of changes")
	f.Func("subjects", "who is measured (default "+strings.Join(o.job.Subjects, ",")+")", func(s string) error {
		o.job.Subjects = strings.Split(s, ",")
		return nil
	})
	f.IntVar(&o.job.Changes, "changes", o.job.Changes, "of one endpoint, one after the other, at each size; 0 leaves them out")
	f.IntVar(&o.job.ProxyChanges, "proxy-changes", o.job.ProxyChanges, "the same for kube-proxy in nftables mode, at most 6 with an operator's sync period; in IPVS mode at most 3 at the smallest size and 1 at others; 0 leaves them out")
	f.IntVar(&o.job.Counted, "counted", o.job.Counted, "changes more, of which system calls and messages are counted; 0 leaves them out, and -changes 0 does")
	f.IntVar(&o.job.Burst, "burst", o.job.Burst, "changes as fast as they can be made; 0 leaves them out")
	f.DurationVar(&o.job.Steady, "steady", o.job.Steady, "how long kube-ipvs is watched while nothing changes: with less than a minute some goals are not judged; 0 leaves it out")
	f.DurationVar(&o.job.ProxySteady, "proxy-steady", o.job.ProxySteady, "the same for kube-proxy, which does something each 30 s; 0 leaves it out")
	f.DurationVar(&o.job.Cutoff, "cutoff", o.job.Cutoff, "what takes longer is not waited for")
	f.DurationVar(&o.job.ChangeCutoff, "change-cutoff", o.job.ChangeCutoff, "the same for a single change")
	f.IntVar(&o.job.Pairs, "pairs", o.job.Pairs, "of the data path: the subject and a virtual server made by hand, one after the other; 0 leaves it out")
	f.DurationVar(&o.job.Each, "each", o.job.Each, "how long each side of a pair takes")
	f.IntVar(&o.job.Rounds, "rounds", o.job.Rounds, "of each way to write to the kernel; 0 leaves them out")
	floors := f.String("floors", "", "numbers of Services for those ways, from 1 on (-rounds 0 leaves them out; default all sizes from 1,000 on, or the largest)")
	f.StringVar(&o.out, "out", "out/bench", "folder for the results")
	f.StringVar(&o.docs, "docs", "docs/performance.md", "the page that -write-docs writes")
	f.BoolVar(&o.writeDocs, "write-docs", false, "write the page; not with -quick, fewer sizes or fewer subjects")
	f.StringVar(&o.memory, "mem", "3G", "of the guest")
	f.BoolVar(&o.job.Profiles, "profiles", false, "keep CPU profiles of cold starts, bursts and restarts in the folder: the times get longer")
	f.BoolVar(&o.logs, "logs", false, "keep the logs of the subjects in the folder")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unknown argument %q", f.Arg(0))
	}
	if err := o.checkNumbers(); err != nil {
		return o, err
	}
	if *quickly && o.writeDocs {
		return o, errors.New("-write-docs: the page is of the whole benchmark, and -quick is a test of it")
	}
	if whole := job.Default(); o.writeDocs && (!contains(o.job.Plan.Sizes, whole.Plan.Sizes) || !contains(o.job.Subjects, whole.Subjects)) {
		return o, fmt.Errorf("-write-docs: the page is of the whole benchmark: its sizes are %v at least, its subjects %s",
			whole.Plan.Sizes, strings.Join(whole.Subjects, ","))
	}
	o.job.FloorSizes = floorSizes(o.job.Plan.Sizes)
	if *floors != "" {
		if err := numbers(&o.job.FloorSizes)(*floors); err != nil {
			return o, fmt.Errorf("-floors: %w", err)
		}
		if least := slices.Min(o.job.FloorSizes); least < 1 {
			return o, fmt.Errorf("-floors: %d Services cannot be written: 1 is the least, and -rounds 0 leaves the floors out", least)
		}
	}
	return o, o.job.Validate()
}

// contains reports whether all that is asked for is there.
func contains[E comparable](there, asked []E) bool {
	return !slices.ContainsFunc(asked, func(e E) bool { return !slices.Contains(there, e) })
}

// checkNumbers says which flags have a number that nothing can be done with.
func (o options) checkNumbers() error {
	j, errs := o.job, []error(nil)
	for _, c := range []struct {
		flag     string
		bad      bool
		value    any
		positive bool // 0 leaves nothing out
	}{
		{flag: "changes", value: j.Changes, bad: j.Changes < 0},
		{flag: "proxy-changes", value: j.ProxyChanges, bad: j.ProxyChanges < 0},
		{flag: "counted", value: j.Counted, bad: j.Counted < 0},
		{flag: "burst", value: j.Burst, bad: j.Burst < 0},
		{flag: "steady", value: j.Steady, bad: j.Steady < 0},
		{flag: "proxy-steady", value: j.ProxySteady, bad: j.ProxySteady < 0},
		{flag: "pairs", value: j.Pairs, bad: j.Pairs < 0},
		{flag: "rounds", value: j.Rounds, bad: j.Rounds < 0},
		{flag: "each", value: j.Each, bad: j.Each <= 0, positive: true},
		{flag: "cutoff", value: j.Cutoff, bad: j.Cutoff <= 0, positive: true},
		{flag: "change-cutoff", value: j.ChangeCutoff, bad: j.ChangeCutoff <= 0, positive: true},
	} {
		switch {
		case c.bad && c.positive:
			errs = append(errs, fmt.Errorf("-%s %v: it must be more than 0", c.flag, c.value))
		case c.bad:
			errs = append(errs, fmt.Errorf("-%s %v: it must be 0, which leaves it out, or more", c.flag, c.value))
		}
	}
	return errors.Join(errs...)
}

// quick says whether the flag is there, whose defaults are others.
func quick(args []string) bool {
	for _, a := range args {
		name, value, given := strings.Cut(a, "=")
		if name != "-quick" && name != "--quick" {
			continue
		}
		if on, err := strconv.ParseBool(value); !given || on && err == nil {
			return true
		}
	}
	return false
}

func numbers(to *[]int) func(string) error {
	return func(s string) error {
		*to = nil
		for field := range strings.SplitSeq(s, ",") {
			n, err := strconv.Atoi(field)
			if err != nil {
				return errors.New("a list such as 100,1000 is wanted")
			}
			*to = append(*to, n)
		}
		return nil
	}
}

// floorSizes are those at which the writing to the kernel is more than the noise.
func floorSizes(sizes []int) []int {
	var large []int
	for _, s := range sizes {
		if s >= 1000 {
			large = append(large, s)
		}
	}
	if large == nil && len(sizes) > 0 {
		large = sizes[len(sizes)-1:]
	}
	return large
}

// size is that of the guest.
func (o *options) size() experiment.Size { return experiment.Size{Memory: o.memory, CPUs: 1} }
