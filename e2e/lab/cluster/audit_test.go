package cluster

import (
	"os"
	"path/filepath"
	"testing"

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
