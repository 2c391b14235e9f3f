//go:build cluster

package suite_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/kube-ipvs/kube-ipvs/e2e/suite"
)

// What a script that reads -o json relies on.
type (
	statusView struct {
		Agent        bool
		Node, Source string
		Health       struct{ Ready, Alive bool }
		Services     []serviceView
	}
	serviceView struct {
		Namespace, Name, State string
		Ports                  []struct {
			Port      string
			NodePort  uint16
			Addresses []string
		}
	}
	explanation struct {
		Node, State, KernelUnknown string
		Ports                      []explainedPort
	}
	explainedPort struct {
		Port      string
		Frontends []struct {
			Address          string
			Served, InKernel bool
			Pending          []string
		}
		Endpoints []struct {
			Target, Use, Reason string
			VirtualServers      int
			Weight              uint32
		}
	}
)

func TestAnOperatorOnANodeSeesAServiceAndWhyEachEndpointIsUsed(t *testing.T) {
	cases.Promise(t, func(c *suite.Case) {
		node := c.Nodes()[0]
		shell := suite.Need[suite.Shell](c)
		web := c.Service("web")
		pods := c.PodOnEach("web")
		c.ServedBy(suite.Some(c.Frontends(web, node.Name)), pods...)

		statusTells(c, shell, node, web)
		var why explanation
		show(c, shell, node, &why, "explain", "service", c.Namespace+"/"+web.Name)
		if why.Node != node.Name || why.State != "served" || why.KernelUnknown != "" || len(why.Ports) != len(web.Spec.Ports) {
			c.Errorf("%+v", why)
		}
		var targets []string
		for _, pod := range pods {
			targets = append(targets, "Pod "+c.Namespace+"/"+pod)
		}
		for _, p := range why.Ports {
			if err := explained(p, node, targets); err != nil {
				c.Errorf("explanation of port %s: %v", p.Port, err)
			}
		}
	})
}

// statusTells requires that a node's agent is well, reads the API server, and serves a Service everywhere.
func statusTells(c *suite.Case, shell suite.Shell, node suite.Node, web *corev1.Service) {
	c.Helper()
	var status statusView
	show(c, shell, node, &status, "status")
	if !status.Agent || status.Node != node.Name || !status.Health.Ready || !strings.HasPrefix(status.Source, "API server https://") {
		c.Errorf("agent: %v, node %q, source %q, health %+v", status.Agent, status.Node, status.Source, status.Health)
	}
	i := slices.IndexFunc(status.Services, func(s serviceView) bool { return s.Namespace == c.Namespace && s.Name == web.Name })
	if i < 0 {
		c.Fatalf("there is no %s/%s among %+v", c.Namespace, web.Name, status.Services)
	}
	if s := status.Services[i]; s.State != "served" || len(s.Ports) != len(web.Spec.Ports) {
		c.Errorf("%+v", s)
	}
	for _, p := range status.Services[i].Ports {
		if err := servedOn(p.Addresses, node); err != nil {
			c.Errorf("status of port %s: %v", p.Port, err)
		}
		if p.NodePort != suite.NodePort(web, p.Port) {
			c.Errorf("status of port %s: node port %d", p.Port, p.NodePort)
		}
	}
}

// show runs a command of ours on a node, where nothing is wrong: it ends with exit code 0. That may take a moment, until the
// node has heard of the end of the case before.
func show(c *suite.Case, shell suite.Shell, node suite.Node, document any, args ...string) {
	c.Helper()
	var out string
	c.Eventually(args[0], func() (err error) {
		out, err = shell.Run(c.Context(), node.Name, "", slices.Concat([]string{"kube-ipvs"}, args, []string{"-o", "json"})...)
		return err
	})
	if err := json.Unmarshal([]byte(out), document); err != nil {
		c.Fatalf("%v: %v\n%s", args, err, out)
	}
}

// servedOn returns nil if these are the addresses that the node was told to serve.
func servedOn(addresses []string, node suite.Node) error {
	var want []string
	for _, a := range node.Chosen {
		want = append(want, a.String())
	}
	slices.Sort(want)
	if got := slices.Sorted(slices.Values(addresses)); !slices.Equal(got, want) {
		return fmt.Errorf("served on %v, want %v", got, want)
	}
	return nil
}

// explained returns nil if a port is in the kernel on the node's addresses, and each of the targets has its share in both
// families.
func explained(p explainedPort, node suite.Node, targets []string) error {
	var addresses []string
	for _, f := range p.Frontends {
		if f.Served && f.InKernel && len(f.Pending) == 0 {
			addresses = append(addresses, f.Address)
		}
	}
	if err := servedOn(addresses, node); err != nil {
		return fmt.Errorf("%w: %+v", err, p.Frontends)
	}
	uses := map[string]int{}
	for _, e := range p.Endpoints {
		if e.Use == "in use" && e.Reason != "" && e.Weight > 0 {
			uses[e.Target] += e.VirtualServers
		}
	}
	for _, target := range targets {
		if n := uses[target]; n != len(node.Chosen) || len(uses) != len(targets) {
			return fmt.Errorf("%s is in %d virtual servers, want %d: %+v", target, n, len(node.Chosen), p.Endpoints)
		}
	}
	return nil
}
