//go:build cluster

package suite_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/kube-ipvs/kube-ipvs/e2e/suite"
)

const (
	// writesAfterBackup put the versions that nodes see far ahead of what a restored API server writes while it starts.
	writesAfterBackup = 500
	// restorePatience is how long nodes may go on with what is no more: they try again after up to a minute, and then list everything.
	restorePatience = 90 * time.Second
)

func TestARestoredBackupIsFollowedAndWhatBothStatesServeLosesNothing(t *testing.T) {
	cases.Promise(t, func(c *suite.Case) {
		backups := suite.Need[suite.Backups](c)
		web := c.Service("web")
		alike := func(s *corev1.Service) { s.Spec.Selector = web.Spec.Selector }
		changed, deleted := c.Service("changed", alike), c.Service("deleted", alike)
		pods := c.PodOnEach("web")
		always := suite.Some(c.Frontends(web))
		back := append(suite.Some(c.Frontends(changed)), suite.Some(c.Frontends(deleted))...)
		c.ServedBy(slices.Concat(back, always), pods...)
		started := agentStarts(c)

		c.Must(backups.Backup(c.Context()))
		load := c.Load(always...)
		created := c.Service("created", alike)
		gone := suite.Some(c.Frontends(created))
		c.Change(changed, func() {
			changed.Spec.Type = corev1.ServiceTypeClusterIP
			for i := range changed.Spec.Ports {
				changed.Spec.Ports[i].NodePort = 0
			}
		})
		c.Delete(deleted)
		writer := newWriter(c, web)
		for range writesAfterBackup {
			c.Must(writer.write(c.Context()))
		}
		c.ServedBy(gone, pods...)
		c.Silent(back)
		seen, err := writer.version(c.Context())
		c.Must(err)
		c.Answered(load, 20)

		// Who else follows the API server, as the lab's kubelet does, may not notice: the cases to come need it to hear of Pods again.
		overtake := c.Afterwards(func() error { return writer.writePast(c.Context(), seen) })
		c.Must(backups.Restore(c.Context()))
		restored := time.Now()
		if has, err := writer.version(c.Context()); err != nil || has >= seen {
			c.Fatalf("the version is %d after %d (%v), not back", has, seen, err)
		}
		for _, f := range back {
			c.Within(restorePatience, f.String(), func() error { return c.Spreads(f, pods...) })
		}
		for _, f := range gone {
			c.Within(restorePatience, f.String()+" silent", func() error {
				if tally := c.AskAt(f, 1); tally.Answers() > 0 {
					return fmt.Errorf("answered by %v", tally)
				}
				return nil
			})
		}
		c.Logf("as in the backup %v after the API server was ready", time.Since(restored).Round(100*time.Millisecond))

		overtake()
		third := c.Pod("web", c.Nodes()[0].Name, "third")
		c.ServedBy(slices.Concat(back, always), append([]string{third.Name}, pods...)...)
		c.Silent(gone)
		c.Answered(load, 20)
		c.Unharmed(load)
		if now := agentStarts(c); now != started {
			c.Errorf("agents were started at %s, and before the restore at %s", now, started)
		}
	})
}

// agentStarts are the times at which the agents' processes were started.
func agentStarts(c *suite.Case) string {
	c.Helper()
	agents := suite.Need[suite.Agents](c)
	var starts []string
	for _, n := range c.Nodes() {
		all, err := agents.AgentMetrics(c.Context(), n.Name)
		c.Must(err)
		at, ok := all["process_start_time_seconds"]
		if !ok {
			c.Fatalf("no start time of the agent on %s", n.Name)
		}
		starts = append(starts, fmt.Sprintf("%s %.2f", n.Name, at))
	}
	return strings.Join(starts, ", ")
}

// writer writes a Service without a change that anybody serves.
type writer struct {
	client          *kubernetes.Clientset
	namespace, name string
	count           int
}

func newWriter(c *suite.Case, s *corev1.Service) *writer {
	c.Helper()
	client, err := kubernetes.NewForConfig(c.Config())
	c.Must(err)
	return &writer{client: client, namespace: c.Namespace, name: s.Name}
}

func (w *writer) write(ctx context.Context) error {
	w.count++
	patch := fmt.Appendf(nil, `{"metadata":{"annotations":{"count":"%d"}}}`, w.count)
	_, err := w.client.CoreV1().Services(w.namespace).Patch(ctx, w.name, types.MergePatchType, patch, metav1.PatchOptions{})
	return err
}

// version is that of the API server.
func (w *writer) version(ctx context.Context) (uint64, error) {
	list, err := w.client.CoreV1().Services(w.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(list.ResourceVersion, 10, 64)
}

// writePast writes until the API server is past a version.
func (w *writer) writePast(ctx context.Context, version uint64) error {
	for {
		now, err := w.version(ctx)
		if err != nil || now > version {
			return err
		}
		if err := w.write(ctx); err != nil {
			return err
		}
	}
}
