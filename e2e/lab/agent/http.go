package agent

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
)

// Where the agent listens by default.
const (
	healthAddress  = "127.0.0.1:10356"
	metricsAddress = "127.0.0.1:10349"
)

// Ready asks /readyz once.
func (a *Agent) Ready(ctx context.Context) error {
	_, err := get(ctx, a.host, healthAddress, "/readyz")
	return err
}

// Alive asks /livez once.
func (a *Agent) Alive(ctx context.Context) error {
	_, err := get(ctx, a.host, healthAddress, "/livez")
	return err
}

// Metrics reads /metrics: the values by "name{labels}", as they are written there.
func (a *Agent) Metrics(ctx context.Context) (map[string]float64, error) {
	body, err := get(ctx, a.host, metricsAddress, "/metrics")
	if err != nil {
		return nil, err
	}
	values := map[string]float64{}
	for lines := bufio.NewScanner(bytes.NewReader(body)); lines.Scan(); {
		line := lines.Text()
		cut := strings.LastIndexByte(line, ' ')
		if cut < 0 || strings.HasPrefix(line, "#") {
			continue
		}
		value, err := strconv.ParseFloat(line[cut+1:], 64)
		if err != nil {
			return nil, fmt.Errorf("metrics of the agent on %s: line %q: %w", a.host.Name, line, err)
		}
		values[line[:cut]] = value
	}
	return values, nil
}

// Page reads a page of the metrics address.
func (a *Agent) Page(ctx context.Context, path string) ([]byte, error) {
	return get(ctx, a.host, metricsAddress, path)
}

// Operations counts what the process has written to the kernel since its start: operations on the IPVS table and
// transactions of nftables.
func (a *Agent) Operations(ctx context.Context) (int, error) {
	values, err := a.Metrics(ctx)
	if err != nil {
		return 0, err
	}
	sum, seen := 0.0, 0
	for name, value := range values {
		family, _, _ := strings.Cut(name, "{")
		if (family == "kube_ipvs_kernel_operations_total" || family == "kube_ipvs_nftables_transactions_total") &&
			strings.Contains(name, `result="done"`) {
			sum += value
			seen++
		}
	}
	if seen < 2 {
		return 0, fmt.Errorf("metrics of the agent on %s do not count operations and transactions", a.host.Name)
	}
	return int(sum), nil
}

// get does a GET from inside a host. Any status but 200 is an error.
func get(ctx context.Context, host *topo.Host, address, path string) ([]byte, error) {
	dial := func(ctx context.Context, network, to string) (net.Conn, error) {
		addr, err := netip.ParseAddrPort(to)
		if err != nil {
			return nil, err
		}
		return host.Dial(ctx, network, addr)
	}
	client := http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("from %s: %w", host.Name, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("from %s: read %s: %w", host.Name, req.URL, err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("from %s: %s: %s: %s", host.Name, req.URL, resp.Status, bytes.TrimSpace(body))
	}
	return body, nil
}
