package kube

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const (
	webYAML = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\n" +
		"spec: {type: NodePort, ports: [{port: 80, nodePort: 30080}]}\n"
	apiYAML = "apiVersion: v1\nkind: Service\nmetadata: {name: api}\n" +
		"spec: {type: NodePort, ports: [{port: 80, nodePort: 30081}]}\n"
	brokenYAML = "apiVersion: v1\nkind: Service\nmetadata: {name: bro\n"
)

func start() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }

// inForce is the names of the objects in force, and the places of the problems.
func inForce(fs files) (objects, problems []string, incomplete bool) {
	content, found, incomplete := fs.content()
	for key := range maps.Keys(content) {
		objects = append(objects, key.name)
	}
	slices.Sort(objects)
	for _, p := range found {
		problems = append(problems, p.Object)
	}
	return objects, problems, incomplete
}

func expectInForce(t *testing.T, fs files, objects, problems []string, incomplete bool) {
	t.Helper()
	gotObjects, gotProblems, gotIncomplete := inForce(fs)
	if diff := cmp.Diff(objects, gotObjects); diff != "" {
		t.Errorf("objects in force (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(problems, gotProblems); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	if incomplete != gotIncomplete {
		t.Errorf("incomplete is %t", gotIncomplete)
	}
}

func TestABrokenFileKeepsWhatItSaidBefore(t *testing.T) {
	fs := files{}
	fs.get("a.yaml", false).take([]byte(webYAML), start())
	fs.get("b.yaml", false).take([]byte(apiYAML), start())
	expectInForce(t, fs, []string{"api", "web"}, nil, false)

	fs.get("a.yaml", false).take([]byte(apiYAML+"---\n"+brokenYAML), start())
	expectInForce(t, fs, []string{"api", "web"}, []string{"a.yaml document 2 (line 6)"}, false)

	fs.get("a.yaml", false).unreadable(errors.New("permission denied"))
	expectInForce(t, fs, []string{"api", "web"}, []string{"a.yaml"}, false)

	fs.get("a.yaml", false).take([]byte(webYAML), start())
	expectInForce(t, fs, []string{"api", "web"}, nil, false)

	fs.get("a.yaml", false).unreadable(errors.New("permission denied"))
	fs.get("a.yaml", false).take([]byte(webYAML), start())
	expectInForce(t, fs, []string{"api", "web"}, nil, false)
}

func TestOfAFileThatWasNeverWholeTheGoodDocumentsAreUsed(t *testing.T) {
	fs := files{}
	fs.get("a.yaml", false).take([]byte(brokenYAML+"---\n"+webYAML), start())
	expectInForce(t, fs, []string{"web"}, []string{"a.yaml document 1 (line 1)"}, true)
	fs.get("a.yaml", false).take([]byte(brokenYAML+"---\n"+apiYAML), start())
	expectInForce(t, fs, []string{"api"}, []string{"a.yaml document 1 (line 1)"}, true)
	fs.get("a.yaml", false).take([]byte(apiYAML), start())
	expectInForce(t, fs, []string{"api"}, nil, false)
}

func TestOfAFileThatSaidNothingTheGoodDocumentsAreUsed(t *testing.T) {
	fs := files{}
	f := fs.get("a.yaml", false)
	f.take([]byte(webYAML), start())
	f.take(nil, start().Add(time.Hour))
	f.take(nil, start().Add(time.Hour+emptyGrace))
	expectInForce(t, fs, nil, nil, false)

	f.take([]byte(apiYAML+"---\n"+brokenYAML), start().Add(2*time.Hour))
	expectInForce(t, fs, []string{"api"}, []string{"a.yaml document 2 (line 6)"}, true)
	if m := f.problems[0].Message; !strings.HasSuffix(m, "; the rest of the file is used") {
		t.Errorf("the problem says %q", m)
	}
	f.take([]byte(webYAML), start().Add(3*time.Hour))
	expectInForce(t, fs, []string{"web"}, nil, false)
}

func TestAnUnreadableFileMakesTheInputIncomplete(t *testing.T) {
	fs := files{}
	fs.get("a.yaml", false).unreadable(errors.New("permission denied"))
	expectInForce(t, fs, nil, []string{"a.yaml"}, true)
}

func TestAnEmptyFileCountsAfterASecond(t *testing.T) {
	fs := files{}
	f := fs.get("a.yaml", false)
	f.take([]byte(webYAML), start())

	if again := f.take(nil, start()); !again.Equal(start().Add(time.Second)) {
		t.Errorf("look again at %v", again)
	}
	f.take([]byte("# nothing yet\n"), start().Add(time.Second-1))
	expectInForce(t, fs, []string{"web"}, nil, false)
	f.take([]byte(webYAML), start().Add(time.Second-1))

	f.take(nil, start().Add(time.Hour))
	expectInForce(t, fs, []string{"web"}, nil, false)
	if again := f.take(nil, start().Add(time.Hour+time.Second)); !again.IsZero() {
		t.Errorf("look again at %v", again)
	}
	expectInForce(t, fs, nil, nil, false)
}

func TestAFileEmptyFromTheStartIsWaitedFor(t *testing.T) {
	fs := files{}
	f := fs.get("a.yaml", false)
	f.take(nil, start())
	expectInForce(t, fs, nil, nil, true)
	f.take(nil, start().Add(time.Second))
	expectInForce(t, fs, nil, nil, false)
}

func TestAVanishedFileCountsAfterASecond(t *testing.T) {
	fs := files{}
	fs.get("a.yaml", false).take([]byte(webYAML), start())
	if again := fs.keep(nil, start()); !again.Equal(start().Add(time.Second)) {
		t.Errorf("look again at %v", again)
	}
	expectInForce(t, fs, []string{"web"}, nil, false)
	fs.keep(nil, start().Add(time.Second))
	expectInForce(t, fs, nil, nil, false)
}

func TestTheFirstFileByNameWins(t *testing.T) {
	fs := files{}
	fs.get("b.yaml", false).take([]byte(webYAML), start())
	fs.get("a.yaml", false).take([]byte(apiYAML+"---\n"+webYAML), start())
	expectInForce(t, fs, []string{"api", "web"}, []string{"b.yaml document 1 (line 1)"}, false)
	objects, _, _ := fs.content()
	if got := objects[objectKey{"Service", "default", "web"}].where; got != "a.yaml document 2 (line 6)" {
		t.Errorf("%s is used", got)
	}
}
