package cluster

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestDenialsAreFoundBehindWhatAKilledAPIServerLeft(t *testing.T) {
	event := func(user, decision string) string {
		return `{"kind":"Event","apiVersion":"audit.k8s.io/v1","requestURI":"/api/v1/nodes","verb":"list","user":{"username":"` + user +
			`"},"annotations":{"authorization.k8s.io/decision":"` + decision + `"}}`
	}
	half := event("killed", "allow")[:60]
	c := &ControlPlane{files: files{audit: filepath.Join(t.TempDir(), "audit.log")}}
	log := event("a", "allow") + "\n" + event("b", "forbid") + "\n" + half + event("c", "forbid") + "\n" + half + "\n" + event("d", "forbid") + "\n" + half
	if err := os.WriteFile(c.files.audit, []byte(log), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := c.Denials()
	if err != nil {
		t.Fatal(err)
	}
	want := []Denial{{"b", "list", "/api/v1/nodes"}, {"c", "list", "/api/v1/nodes"}, {"d", "list", "/api/v1/nodes"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := os.Remove(c.files.audit); err != nil {
		t.Fatal(err)
	}
	if denials, err := c.Denials(); err == nil {
		t.Errorf("without an audit log: %v", denials)
	}
}

func TestWhatAnAPIServerRefusesBeforeItIsReadyIsNoDenial(t *testing.T) {
	c := &ControlPlane{files: files{audit: filepath.Join(t.TempDir(), "audit.log")}}
	begin := time.Date(2026, 11, 22, 20, 0, 0, 0, time.UTC)
	c.starts.add(begin, begin.Add(5*time.Second))
	log := ""
	for user, after := range map[string]time.Duration{"before": -time.Microsecond, "first": 0, "last": 5*time.Second - time.Microsecond, "ready": 5 * time.Second} {
		log += `{"kind":"Event","verb":"list","user":{"username":"` + user + `"},"requestReceivedTimestamp":"` +
			begin.Add(after).Format("2006-01-02T15:04:05.000000Z07:00") + `","annotations":{"authorization.k8s.io/decision":"forbid"}}` + "\n"
	}
	if err := os.WriteFile(c.files.audit, []byte(log), 0o600); err != nil {
		t.Fatal(err)
	}
	denials, err := c.Denials()
	if err != nil {
		t.Fatal(err)
	}
	var users []string
	for _, d := range denials {
		users = append(users, d.User)
	}
	slices.Sort(users)
	if diff := cmp.Diff([]string{"before", "ready"}, users); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
