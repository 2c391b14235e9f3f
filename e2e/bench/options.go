package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/kube-ipvs/kube-ipvs/e2e/bench/job"
	"github.com/kube-ipvs/kube-ipvs/e2e/bench/objects"
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
	f.Bool("quick", false, "everything once on few objects, for a test of the benchmark: other flags change what it takes")
	f.Func("sizes", fmt.Sprintf("numbers of Services, ascending, at most %d (default %v)", objects.MaxServices, o.job.Plan.Sizes), numbers(&o.job.Plan.Sizes))
	f.IntVar(&o.job.Plan.Endpoints, "endpoints", o.job.Plan.Endpoints, "endpoints of each Service")
	f.Uint64Var(&o.job.Plan.Seed, "seed", o.job.Plan.Seed, "of node ports, addresses and the order of changes")
	f.Func("subjects", "who is measured (default "+strings.Join(o.job.Subjects, ",")+")", func(s string) error {
		o.job.Subjects = strings.Split(s, ",")
		return nil
	})
	f.IntVar(&o.job.Changes, "changes", o.job.Changes, "of one endpoint, one after the other, at each size")
	f.IntVar(&o.job.ProxyChanges, "proxy-changes", o.job.ProxyChanges, "the same for kube-proxy in nftables mode, half as many with an operator's sync period; in IPVS mode it is 3 at the smallest size and 1 at others")
	f.IntVar(&o.job.Counted, "counted", o.job.Counted, "changes more, of which system calls and messages are counted")
	f.IntVar(&o.job.Burst, "burst", o.job.Burst, "changes as fast as they can be made")
	f.DurationVar(&o.job.Steady, "steady", o.job.Steady, "how long kube-ipvs is watched while nothing changes: with less than a minute some goals are not judged")
	f.DurationVar(&o.job.ProxySteady, "proxy-steady", o.job.ProxySteady, "the same for kube-proxy, which does something each 30 s")
	f.DurationVar(&o.job.Cutoff, "cutoff", o.job.Cutoff, "what takes longer is not waited for")
	f.DurationVar(&o.job.ChangeCutoff, "change-cutoff", o.job.ChangeCutoff, "the same for a single change")
	f.IntVar(&o.job.Pairs, "pairs", o.job.Pairs, "of the data path: the subject and a virtual server made by hand, one after the other; 0 leaves it out")
	f.DurationVar(&o.job.Each, "each", o.job.Each, "how long each side of a pair takes")
	f.IntVar(&o.job.Rounds, "rounds", o.job.Rounds, "of each way to write to the kernel; 0 leaves them out")
	floors := f.String("floors", "", "numbers of Services for those ways (default all sizes from 1,000 on, or the largest)")
	f.StringVar(&o.out, "out", "out/bench", "folder for the results")
	f.StringVar(&o.docs, "docs", "docs/performance.md", "the page that -write-docs writes")
	f.BoolVar(&o.writeDocs, "write-docs", false, "write the page")
	f.StringVar(&o.memory, "mem", "3G", "of the guest")
	f.BoolVar(&o.job.Profiles, "profiles", false, "keep CPU profiles of cold starts, bursts and restarts in the folder: the times get longer")
	f.BoolVar(&o.logs, "logs", false, "keep the logs of the subjects in the folder")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unknown argument %q", f.Arg(0))
	}
	o.job.FloorSizes = floorSizes(o.job.Plan.Sizes)
	if *floors != "" {
		if err := numbers(&o.job.FloorSizes)(*floors); err != nil {
			return o, fmt.Errorf("-floors: %w", err)
		}
	}
	return o, o.job.Validate()
}

// quick says whether the flag is there, whose defaults are others.
func quick(args []string) bool {
	for _, a := range args {
		if a == "-quick" || a == "--quick" {
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
