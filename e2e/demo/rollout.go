package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/agent"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

// stepLimit bounds each step. The longest one waits for 3 s without a connection, on a slow machine.
const stepLimit = 30 * time.Second

// settled is the number of requests after which those that were under way before have ended.
const settled = 20

// showRollout replaces web-1 by web-3 as Kubernetes does, while the client goes on asking.
func (c *cast) showRollout(ctx context.Context) error {
	open, err := c.talkTo(ctx, "web-1")
	if err != nil {
		return err
	}
	defer open.Close()
	c.say("web-1 goes as Kubernetes lets every pod go: its EndpointSlice says ready=false, serving=true,")
	c.say("terminating=true; it ends what it has; it leaves the slice; it is gone. Four clients ask all the")
	c.say("while over both networks, and one more has a connection to web-1 open.\n")
	r := &rollout{cast: c, traffic: c.startTraffic(ctx), start: time.Now()}
	defer r.traffic.stop()
	played := r.play(ctx, open)
	total := r.traffic.stop()
	c.say("")
	c.promise(len(total.Failures) == 0, fmt.Sprintf("0 of %d requests failed (%s)", total.Answers()+len(total.Failures), counts(total)), total)
	if played != nil {
		return played
	}
	ours, _, err := c.split(ctx)
	if err != nil {
		return err
	}
	c.promise(total.Pods["web-3"] > 0, "web-3 joined and answered", total)
	c.promise(r.stray == 0, "web-1 got no new connection after its weight was 0", fmt.Sprint(r.stray, " requests"))
	c.promise(r.cut == nil, "the open connection was answered by web-1 at weight 0, until the client closed it", r.cut)
	c.promise(ours.Equal(c.want()), "web-1 is gone from the virtual servers of all 4 addresses", "short of\n"+c.lacks(ours))
	return nil
}

// talkTo opens a connection to Service web that is answered by a certain pod, and keeps it open.
func (c *cast) talkTo(ctx context.Context, pod string) (net.Conn, error) {
	for range 2 * len(c.web.pods) {
		conn, err := c.net.Client.Dial(ctx, topo.TCP, netip.AddrPortFrom(c.net.Node1.A4, webPort))
		if err != nil {
			return nil, err
		}
		answer, err := topo.AskOn(conn)
		if err == nil && answer.Pod == pod {
			return conn, nil
		}
		if closing := conn.Close(); err != nil || closing != nil {
			return nil, errors.Join(err, closing)
		}
	}
	return nil, fmt.Errorf("no connection came to %s", pod)
}

// rollout is the act while it is played.
type rollout struct {
	*cast
	traffic traffic
	start   time.Time
	stray   int   // requests that came to the leaving pod at weight 0
	cut     error // why the open connection did not live on
}

func (r *rollout) play(ctx context.Context, open net.Conn) error {
	r.head()
	if err := r.step(ctx, "before anything happens", func() error { return nil }); err != nil {
		return err
	}
	if err := r.step(ctx, "web-3 is added on node2", func() error {
		return r.addPod(ctx, &r.web, "web-3", r.net.Node2)
	}); err != nil {
		return err
	}
	if err := r.step(ctx, "web-1 is terminating, and serves", func() error {
		r.web.pods[0].terminating = true
		return r.publish(&r.web)
	}); err != nil {
		return err
	}
	leaving := r.web.pods[0].Pod
	before := r.traffic.tally().Pods[leaving.Name]
	if err := r.step(ctx, "web-1 has ended what it had", func() error {
		return r.finish(ctx, leaving, open)
	}); err != nil {
		return err
	}
	r.stray = r.traffic.tally().Pods[leaving.Name] - before
	return r.step(ctx, "web-1 has left its slice and is gone", func() error {
		r.web.pods = r.web.pods[1:]
		return errors.Join(r.publish(&r.web), leaving.Close())
	})
}

// finish ends a pod as a good server ends: nothing new, and patience with what there is. The open connection is what
// there is.
func (r *rollout) finish(ctx context.Context, pod *topo.Pod, open net.Conn) error {
	ended := make(chan error, 1)
	go func() { ended <- pod.Shutdown(ctx) }()
	r.cut = errors.Join(answers(open, pod.Name), r.traffic.more(ctx, settled), answers(open, pod.Name))
	select {
	case err := <-ended:
		r.cut = errors.Join(r.cut, fmt.Errorf("%s did not wait for the open connection (%w)", pod.Name, err))
		return nil
	default:
	}
	return errors.Join(open.Close(), <-ended)
}

func answers(open net.Conn, pod string) error {
	answer, err := topo.AskOn(open)
	if err == nil && answer.Pod != pod {
		err = fmt.Errorf("%s answered", answer.Pod)
	}
	return err
}

// step does something, waits until the kernel's table is as it should be then, lets requests pass and prints a row.
func (r *rollout) step(ctx context.Context, what string, do func() error) error {
	if err := do(); err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	var table ipvs.Table
	err := agent.Eventually(limited, what, func() (err error) {
		table, _, err = r.split(ctx)
		if err == nil && !table.Equal(r.want()) {
			err = fmt.Errorf("the IPVS table is short of\n%s", r.lacks(table))
		}
		return err
	})
	if err != nil {
		return err
	}
	at := time.Since(r.start)
	if err := r.traffic.more(ctx, settled); err != nil {
		return err
	}
	r.row(at, what, table)
	return nil
}

const rowFormat = "    %7s   %-38s %5s %5s %5s   %8s   %6s"

func (r *rollout) head() {
	r.say(rowFormat, "", "", "WEIGHTS", "", "", "REQUESTS", "")
	r.say(rowFormat, "TIME", "", "web-1", "web-2", "web-3", "ANSWERED", "FAILED")
}

// row prints the weights on one of the addresses: they are the same on all.
func (r *rollout) row(at time.Duration, what string, table ipvs.Table) {
	weight := map[string]string{"web-1": "-", "web-2": "-", "web-3": "-"}
	addr := r.net.Node1.A4
	for _, b := range r.web.pods {
		if real, there := table[r.web.key(addr)].Reals[b.real(addr)]; there {
			weight[b.Name] = fmt.Sprint(real.Weight)
		}
	}
	tally := r.traffic.tally()
	r.say(rowFormat, fmt.Sprintf("%.1f s", at.Seconds()), what, weight["web-1"], weight["web-2"], weight["web-3"],
		fmt.Sprint(tally.Answers()), fmt.Sprint(len(tally.Failures)))
}
