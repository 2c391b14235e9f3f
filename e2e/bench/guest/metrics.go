package main

import (
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

	"github.com/kube-ipvs/kube-ipvs/e2e/bench/job"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
)

// synced is the metric that says when a pass last ended well, in seconds since 1970. Its precision does not depend on when it
// is read. kube-proxy has one for each family, kube-ipvs one for both.
const synced = "kubeproxy_sync_proxy_rules_last_timestamp_seconds"

// lookForPass is how often a program is asked whether it has passed: answering takes it time.
const lookForPass = 100 * time.Millisecond

// answerPatience is how long an answer may take.
const answerPatience = 10 * time.Second

// ask returns what answers at a URL with 200; anything else is an error.
type ask func(ctx context.Context, url string) (string, error)

// firstPass returns when the program's first pass ended, of all families.
func (s *session) firstPass(ctx context.Context) (time.Time, error) {
	return passOf(ctx, s.subject, asks(s.network.Node1, answerPatience))
}

// passOf reads the metrics once the subject says that it is ready, where it has a word for that: kube-ipvs reads all of the kernel's counters for
// its metrics, which took 43 % of the CPU time of a restart at 2,700 Services. A kube-proxy says that it is healthy before its first pass
// (ProxyHealthServer.Health, 1.37), and its metrics are no more than what it remembers.
func passOf(ctx context.Context, subject job.Subject, get ask) (time.Time, error) {
	ready := subject.Ready == ""
	for {
		var err error
		if !ready {
			_, err = get(ctx, "http://"+subject.Ready)
			ready = err == nil
		}
		if ready {
			var at time.Time
			if at, err = readPass(ctx, subject, get); err == nil {
				return at, nil
			}
		}
		if pause(ctx, lookForPass) != nil {
			return time.Time{}, err
		}
	}
}

// readPass reads when a pass ended; an error if none has.
func readPass(ctx context.Context, subject job.Subject, get ask) (time.Time, error) {
	text, err := get(ctx, "http://"+subject.Metrics+"/metrics")
	if err != nil {
		return time.Time{}, err
	}
	return lastSync(text)
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

// asks asks programs on a host.
func asks(host *topo.Host, timeout time.Duration) ask {
	client := &http.Client{Timeout: timeout, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			to, err := netip.ParseAddrPort(address)
			if err != nil {
				return nil, err
			}
			return host.Dial(ctx, topo.TCP, to)
		},
	}}
	return func(ctx context.Context, url string) (string, error) { return get(ctx, client, url) }
}

func get(ctx context.Context, client *http.Client, url string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", url, response.Status)
	}
	return string(body), err
}
