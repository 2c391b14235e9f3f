package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
)

// synced is the metric that says when a pass last ended well, in seconds since 1970. Its precision does not depend on when it
// is read. kube-proxy has one for each family, kube-ipvs one for both.
const synced = "kubeproxy_sync_proxy_rules_last_timestamp_seconds"

// lookForPass is how often the metrics are read: reading them takes the program time.
const lookForPass = 100 * time.Millisecond

// answerPatience is how long the metrics may take.
const answerPatience = 10 * time.Second

// firstPass returns when the program's first pass ended, of all families.
func (s *session) firstPass(ctx context.Context) (time.Time, error) {
	for {
		text, err := get(ctx, s.network.Node1, "http://"+s.subject.Metrics+"/metrics", answerPatience)
		if err == nil {
			var at time.Time
			if at, err = lastSync(text); err == nil {
				return at, nil
			}
		}
		if pause(ctx, lookForPass) != nil {
			return time.Time{}, err
		}
	}
}

// lastSync reads the latest of a program's times; an error if one of them has not come.
func lastSync(metrics string) (time.Time, error) {
	var latest float64
	for line := range strings.Lines(metrics) {
		if !strings.HasPrefix(line, synced) {
			continue
		}
		fields := strings.Fields(line)
		value, err := strconv.ParseFloat(fields[len(fields)-1], 64)
		if err != nil {
			return time.Time{}, fmt.Errorf("%s: %w", synced, err)
		}
		if value == 0 {
			return time.Time{}, errors.New("no pass has ended")
		}
		latest = max(latest, value)
	}
	if latest == 0 {
		return time.Time{}, fmt.Errorf("there is no %s", synced)
	}
	return time.Unix(0, int64(latest*1e9)), nil
}

// get asks a program on a host.
func get(ctx context.Context, host *topo.Host, url string, timeout time.Duration) (string, error) {
	client := http.Client{Timeout: timeout, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			to, err := netip.ParseAddrPort(address)
			if err != nil {
				return nil, err
			}
			return host.Dial(ctx, topo.TCP, to)
		},
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(bufio.NewReader(response.Body))
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", url, response.Status)
	}
	return string(body), err
}
