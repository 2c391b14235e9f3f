package floor

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"

	"github.com/kube-ipvs/kube-ipvs/e2e/bench/objects"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

// Follow is the least program that serves changes of endpoints: it lists EndpointSlices of an API server without credentials, writes the
// table of all of them, watches, and writes each change as it comes: the new real server and weight 0 of the old one, behind
// all addresses of the Service. No cache, no audit, no look at who leaves, no log; a replaced real server stays for ever. It knows
// node ports from the plan, for it sees no Services. It ends with ctx, or with what it cannot do.
func Follow(ctx context.Context, server string, plan objects.Plan) error {
	h, err := ipvs.Open(ipvs.Options{})
	if err != nil {
		return err
	}
	return errors.Join(follow(ctx, h, server, plan), h.Close())
}

func follow(ctx context.Context, h ipvs.Handle, server string, plan objects.Plan) error {
	f := &follower{kernel: h, frontends: map[string][]frontend.Key{}, reals: map[string][]netip.AddrPort{}}
	for i := range plan.Largest() {
		f.frontends[plan.Slice(i).Name] = plan.Frontends(i)
	}
	slices := server + "/apis/discovery.k8s.io/v1/namespaces/" + objects.Namespace + "/endpointslices"
	version, err := f.list(ctx, slices)
	if err != nil {
		return fmt.Errorf("list: %w", err)
	}
	if err := f.watch(ctx, slices+"?watch=1&resourceVersion="+version); err != nil {
		return fmt.Errorf("watch: %w", err)
	}
	return nil
}

// follower is what Follow knows: by the name of a slice.
type follower struct {
	kernel    ipvs.Handle
	frontends map[string][]frontend.Key
	reals     map[string][]netip.AddrPort
	ops       []ipvs.Op
}

// slice is what is read of an EndpointSlice.
type slice struct {
	Metadata struct {
		Name string `json:"name"`
	} `json:"metadata"`
	Endpoints []struct {
		Addresses []netip.Addr `json:"addresses"`
	} `json:"endpoints"`
	Ports []struct {
		Port uint16 `json:"port"`
	} `json:"ports"`
}

// addrPorts are the endpoints; of a slice without ports there are none.
func (s *slice) addrPorts() []netip.AddrPort {
	var all []netip.AddrPort
	for _, p := range s.Ports {
		for _, e := range s.Endpoints {
			for _, a := range e.Addresses {
				all = append(all, netip.AddrPortFrom(a, p.Port))
			}
		}
	}
	return all
}

// list writes the table of all slices that are there, and returns the version to watch from.
func (f *follower) list(ctx context.Context, url string) (version string, err error) {
	body, err := open(ctx, url)
	if err != nil {
		return "", err
	}
	defer body.Close()
	var all struct {
		Metadata struct {
			ResourceVersion string `json:"resourceVersion"`
		} `json:"metadata"`
		Items []slice `json:"items"`
	}
	if err := json.NewDecoder(body).Decode(&all); err != nil {
		return "", err
	}
	table := ipvs.Table{}
	for i := range all.Items {
		s := &all.Items[i]
		reals := map[netip.AddrPort]ipvs.RealServer{}
		for _, a := range s.addrPorts() {
			reals[a] = ipvs.RealServer{Weight: 1}
		}
		f.reals[s.Metadata.Name] = s.addrPorts()
		for _, key := range f.frontends[s.Metadata.Name] {
			table[key] = ipvs.Entry{VirtualServer: ipvs.VirtualServer{Scheduler: scheduler}, Reals: reals}
		}
	}
	return all.Metadata.ResourceVersion, errors.Join(f.kernel.Do(ctx, ipvs.Diff(nil, table))...)
}

// watch writes each change of a slice, for as long as the server tells them.
func (f *follower) watch(ctx context.Context, url string) error {
	body, err := open(ctx, url)
	if err != nil {
		return err
	}
	defer body.Close()
	for lines := bufio.NewReaderSize(body, 64<<10); ; {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return err
		}
		var event struct {
			Type   string `json:"type"`
			Object slice  `json:"object"`
		}
		if err := json.Unmarshal(line, &event); err != nil {
			return err
		}
		if event.Type != "MODIFIED" {
			return fmt.Errorf("an event that is no change: %.200s", line)
		}
		if err := f.change(ctx, &event.Object); err != nil {
			return err
		}
	}
}

// change writes what is different: no prefix of it leaves a virtual server with fewer real servers than before.
func (f *follower) change(ctx context.Context, s *slice) error {
	name := s.Metadata.Name
	before, now := f.reals[name], s.addrPorts()
	f.ops = f.ops[:0]
	for _, real := range now {
		if !slices.Contains(before, real) {
			f.toAll(name, ipvs.Op{Verb: ipvs.AddReal, RealKey: real, Real: ipvs.RealServer{Weight: 1}})
		}
	}
	for _, real := range before {
		if !slices.Contains(now, real) {
			f.toAll(name, ipvs.Op{Verb: ipvs.SetReal, RealKey: real})
		}
	}
	f.reals[name] = now
	return errors.Join(f.kernel.Do(ctx, f.ops)...)
}

// toAll adds an operation for every address.
func (f *follower) toAll(name string, op ipvs.Op) {
	for _, op.Key = range f.frontends[name] {
		f.ops = append(f.ops, op)
	}
}

// open asks for JSON.
func open(ctx context.Context, url string) (io.ReadCloser, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		response.Body.Close()
		return nil, errors.New(response.Status)
	}
	return response.Body, nil
}
