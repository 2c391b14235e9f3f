package main

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/kube-ipvs/kube-ipvs/e2e/bench/datapath"
	"github.com/kube-ipvs/kube-ipvs/e2e/bench/objects"
	"github.com/kube-ipvs/kube-ipvs/e2e/bench/result"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/agent"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
)

// startPatience is how long a program may take to come to rest before its data path is measured. kube-proxy in IPVS mode passes each half a
// minute meanwhile, too: pairs take turns, and share that. It has not come to rest within 10 s either.
const startPatience = 5 * time.Second

// dataPaths measures the requests through each subject's rules, beside the smallest number of Services.
func (r *runner) dataPaths(ctx context.Context) {
	if r.job.Pairs == 0 {
		return
	}
	r.control(ctx)
	for _, subject := range r.job.Chosen() {
		if !subject.Operator || ctx.Err() != nil {
			continue // the packets do not know of sync periods
		}
		size := r.job.Plan.Sizes[0]
		s := newSession(r, subject, size, plan{}, r.job.Plan.DataPathSelector(size))
		if err := s.runDataPath(ctx); err != nil {
			r.fail(result.Sample{Subject: subject.Name, Measure: s.doing, Size: size}, err)
		}
	}
}

// control measures a virtual server made by hand against another one, by IPv4: what comes out differs for other reasons than whose rules
// they are.
func (r *runner) control(ctx context.Context) {
	if ctx.Err() != nil || !slices.Contains(r.job.Subjects, result.KubeIPVS) {
		return
	}
	r.say("the data path of %s", result.ByHandAgain)
	awaitRest(ctx, startPatience)
	size := r.job.Plan.Sizes[0]
	err := datapath.RunControl(ctx, datapath.Options{
		Subject: result.ByHandAgain, NodePort: r.job.Plan.NodePort(r.job.Plan.Largest()), Pairs: r.job.Pairs, Each: r.job.Each,
	}, r.emit)
	if err != nil {
		r.fail(result.Sample{Subject: result.ByHandAgain, Measure: result.Requests, Size: size}, err)
	}
	awaitRest(ctx, r.job.Settle)
}

func (s *session) runDataPath(ctx context.Context) (err error) {
	s.doing = result.Requests
	s.say("the data path of %s", s.subject.Name)
	if err = s.prepare(ctx); err == nil {
		err = s.dataPath(ctx)
	}
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, s.lastWords())
	}
	if e := s.close(); err == nil {
		err = e
	}
	awaitRest(ctx, s.job.Settle)
	return err
}

func (s *session) dataPath(ctx context.Context) error {
	node := s.network.Node1
	pod, err := s.network.AddPod(ctx, node, objects.Namespace)
	if err != nil {
		return err
	}
	if want := objects.DataPathPod(); pod.Addr4 != want[0] || pod.Addr6 != want[1] {
		return fmt.Errorf("the pod has %s and %s, and the slices %v", pod.Addr4, pod.Addr6, want)
	}
	if err := s.start(false); err != nil {
		return err
	}
	port := s.job.Plan.NodePort(s.job.Plan.Largest())
	limited, stop := s.limit(ctx, s.job.Cutoff)
	defer stop()
	for _, at := range []netip.Addr{node.A4, node.A6} {
		if err := agent.Eventually(limited, "an answer from "+at.String(), func() error {
			_, err := topo.Ask(limited, s.network.Client, topo.TCP, netip.AddrPortFrom(at, port))
			return err
		}); err != nil {
			return err
		}
	}
	return s.rested(ctx, func(emit func(result.Sample)) error {
		return datapath.Run(ctx, datapath.Options{
			Subject: s.subject.Name, Network: s.network, Pod: pod, NodePort: port, Pairs: s.job.Pairs, Each: s.job.Each,
		}, emit)
	})
}

// rested measures once the program rests, or startPatience is over: then all samples say so.
func (s *session) rested(ctx context.Context, measure func(emit func(result.Sample)) error) error {
	s.busy = !awaitRest(ctx, startPatience)
	return measure(func(sample result.Sample) { s.emit(s.atRest(sample)) })
}
