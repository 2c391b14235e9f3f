// Package labcluster is the suite's provider lab: a real control plane on the host's loopback, and a guest with IPVS in
// which network namespaces are the nodes. It needs nothing but Debian and Go.
package labcluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/cluster"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/nodes"
)

// guestPatience is how long the guest may take until its nodes answer, on a busy machine.
const guestPatience = 3 * time.Minute

// controllers are those that cases need.
var controllers = []string{
	"deployment-controller", "endpointslice-controller", "garbage-collector-controller", "namespace-controller", "replicaset-controller",
}

// Cluster is a running cluster.
type Cluster struct {
	*nodes.Remote
	progress io.Writer
	dir      *lab.TempDir // of programs and kubeconfigs
	plane    *cluster.ControlPlane
	endGuest context.CancelCauseFunc
	guest    chan error // how the guest ended
	said     *transcript
}

// Start builds what is missing and returns when both nodes have an agent that is ready. Progress is told what takes
// time. The end of ctx ends it all; Close removes what is left.
func Start(ctx context.Context, progress io.Writer) (*Cluster, error) {
	c := &Cluster{progress: progress, said: &transcript{}}
	if err := c.start(ctx); err != nil {
		return nil, fmt.Errorf("start cluster: %w", errors.Join(err, c.Close()))
	}
	return c, nil
}

func (c *Cluster) start(ctx context.Context) error {
	began := time.Now()
	p, err := c.prepare(ctx)
	if err != nil {
		return err
	}
	c.say("everything is built after %v", since(began))
	c.plane, err = cluster.Start(ctx, cluster.Options{Binaries: p.kubernetes, Controllers: controllers})
	if err != nil {
		return err
	}
	files, err := c.credentials(ctx, p.root)
	if err != nil {
		return err
	}
	c.say("the control plane is ready after %v", since(began))
	if err := c.boot(ctx, p, files); err != nil {
		return err
	}
	c.say("the nodes are there after %v", since(began))
	for _, n := range c.Nodes() {
		if err := c.StartAgent(ctx, n.Name, false); err != nil {
			return err
		}
	}
	c.say("the agents are ready after %v", since(began))
	return c.addOthers(ctx)
}

// boot starts the guest and returns when its nodes answer.
func (c *Cluster) boot(ctx context.Context, p *programs, files []lab.File) error {
	forwarded := make(chan netip.AddrPort, 1)
	g := &lab.Guest{
		Kernel: p.kernel, Init: p.init, Memory: "2G", Files: append(p.files(), files...),
		Network: &lab.Network{Forward: nodes.Port, Forwarded: func(at netip.AddrPort) { forwarded <- at }},
	}
	step := lab.Step{Name: "nodes", Args: []string{
		"nodes", "-kubeconfig", adminFile, "-agent-kubeconfig", agentFile, "-proxy-kubeconfig", proxyFile,
	}, Network: true, OneStream: true}
	guest, end := context.WithCancelCause(ctx)
	c.endGuest, c.guest = end, make(chan error, 1)
	go func() {
		_, err := g.Run(guest, lab.Job{Steps: []lab.Step{step}}, c.said)
		if err == nil {
			err = fmt.Errorf("the nodes ended: %s", c.said)
		}
		end(err) // nobody waits for an answer of theirs
		c.guest <- err
	}()
	limited, cancel := context.WithTimeout(guest, guestPatience)
	defer cancel()
	select {
	case at := <-forwarded:
		var err error
		if c.Remote, err = nodes.Dial(limited, at); err == nil {
			return nil
		}
		if guest.Err() == nil {
			return err
		}
	case <-limited.Done():
	}
	end(fmt.Errorf("the nodes do not answer after %v", guestPatience))
	err := <-c.guest
	c.guest <- err
	return err
}

// Config implements suite.Provider.
func (c *Cluster) Config() *rest.Config {
	config := c.plane.Admin()
	config.QPS = -1
	return config
}

// Server implements suite.Provider: every Pod of the lab answers.
func (c *Cluster) Server() corev1.Container {
	return corev1.Container{Name: "server", Image: "none", Ports: []corev1.ContainerPort{{ContainerPort: 8080}}}
}

// Verdict implements suite.Provider.
func (c *Cluster) Verdict() error {
	denials, err := c.plane.Denials()
	if err != nil {
		return err
	}
	var errs []error
	for _, d := range denials {
		errs = append(errs, errors.New("refused by RBAC: "+d.String()))
	}
	return errors.Join(errs...)
}

// Diagnosis implements suite.Provider.
func (c *Cluster) Diagnosis(ctx context.Context) string {
	var b strings.Builder
	for _, n := range c.Nodes() {
		log, err := c.AgentLog(ctx, n.Name)
		fmt.Fprintf(&b, "--- agent of %s (%v)\n%s\n", n.Name, err, lastLines(log, 40))
		table, err := c.Run(ctx, n.Name, "", "ipvsadm", "-Ln")
		fmt.Fprintf(&b, "--- IPVS of %s (%v)\n%s\n", n.Name, err, table)
	}
	fmt.Fprintf(&b, "--- nodes\n%s\n--- control plane\n%s", lastLines(c.said.String(), 20), c.plane.LogTail(10))
	return b.String()
}

// Close implements suite.Provider.
func (c *Cluster) Close() error {
	var errs []error
	if c.endGuest != nil {
		c.endGuest(nil)
		c.guest <- <-c.guest // there again for who closes twice
	}
	if c.plane != nil {
		errs = append(errs, c.plane.Close())
	}
	if c.dir != nil {
		errs = append(errs, c.dir.Remove())
	}
	return errors.Join(errs...)
}

func (c *Cluster) say(format string, args ...any) {
	fmt.Fprintf(c.progress, "lab: "+format+"\n", args...)
}

func since(began time.Time) time.Duration { return time.Since(began).Round(100 * time.Millisecond) }
