package kube

import (
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/client-go/rest"

	"github.com/kube-ipvs/kube-ipvs/sync/kube/apitest"
)

// read counts what is read of the answers to lists: of all, and of those of one object.
type read struct {
	http.RoundTripper
	lists, listBytes, versions, versionBytes atomic.Int64
}

// RoundTrip is that of http.RoundTripper.
func (c *read) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := c.RoundTripper.RoundTrip(r)
	q := r.URL.Query()
	if err != nil || q.Get("watch") != "" {
		return response, err
	}
	requests, bytes := &c.lists, &c.listBytes
	if q.Get("limit") == "1" {
		requests, bytes = &c.versions, &c.versionBytes
	}
	requests.Add(1)
	response.Body = &countedBody{response.Body, bytes}
	return response, nil
}

type countedBody struct {
	io.ReadCloser
	bytes *atomic.Int64
}

// Read is that of io.Reader.
func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.bytes.Add(int64(n))
	return n, err
}

// Every agent of a cluster asks, for each kind, whenever a watch ends.
func TestAResumedWatchCostsTheListOfOneObject(t *testing.T) {
	const services = 1000
	synctest.Test(t, func(t *testing.T) {
		s := apiServer(t, node("node-a", "10.1.0.10"), node("node-b"))
		var objects []apitest.Object
		for i := range services {
			name := fmt.Sprintf("svc-%d", i)
			objects = append(objects, webService(name, int32(30000+i)), sliceOf(name, "10.0.0.1", "10.0.0.2"))
		}
		s.Set(objects...)
		counted := &read{}
		startAgent(t, s, func(c *rest.Config) {
			c.Wrap(func(next http.RoundTripper) http.RoundTripper { counted.RoundTripper = next; return counted })
		})
		time.Sleep(time.Minute)
		asked := s.Asked()
		s.EndWatches()
		time.Sleep(time.Minute)
		versions, bytes := counted.versions.Load(), counted.versionBytes.Load()
		t.Logf("%d watches resumed: %d bytes of versions", versions, bytes)
		if versions != 3 || bytes > 3*1000 {
			t.Errorf("%d questions for the version, %d bytes", versions, bytes)
		}
		if n := counted.lists.Load(); n != 0 {
			t.Errorf("%d lists, %d bytes", n, counted.listBytes.Load())
		}
		for _, kind := range []string{apitest.Services, apitest.EndpointSlices, apitest.Nodes} {
			if n := s.Asked()["stream "+kind] - asked["stream "+kind]; n != 0 {
				t.Errorf("%d streaming lists of %s", n, kind)
			}
		}
	})
}
