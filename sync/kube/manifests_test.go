package kube

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"go.uber.org/goleak"

	"github.com/kube-ipvs/kube-ipvs/sync"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// follower applies the Updates of a source, as the agent does.
type follower struct {
	t      *testing.T
	source sync.Source
	// ports are the node ports of each Service that has some.
	ports map[string][]uint16
	last  sync.Update
}

// follow runs the source until the test ends.
func follow(t *testing.T, source sync.Source) *follower {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- source.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return &follower{t: t, source: source, ports: map[string][]uint16{}}
}

// until applies Updates until the state is as wanted, "web=30080 api=30081" in the order of the names.
func (f *follower) until(want string) {
	f.t.Helper()
	f.untilThat(want, func() bool { return f.state() == want })
}

func (f *follower) untilThat(what string, holds func() bool) {
	f.t.Helper()
	deadline := time.After(10 * time.Second) // Far below lookAgain, so that a change that is only polled fails.
	for {
		if update, ok := f.source.Next(); ok {
			f.apply(update)
			if holds() {
				return
			}
		}
		select {
		case <-f.source.Changed():
		case <-deadline:
			f.t.Fatalf("want %s, have %q and %v", what, f.state(), f.last.Problems)
		}
	}
}

func (f *follower) apply(update sync.Update) {
	f.last = update
	for _, s := range update.Services {
		delete(f.ports, s.ID.Name)
		for _, p := range s.Ports {
			f.ports[s.ID.Name] = append(f.ports[s.ID.Name], p.NodePort)
		}
	}
}

func (f *follower) state() string {
	var words []string
	for _, name := range []string{"web", "api", "new"} {
		for _, port := range f.ports[name] {
			words = append(words, fmt.Sprintf("%s=%d", name, port))
		}
	}
	return strings.Join(words, " ")
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func followPath(t *testing.T, path string) *follower {
	return follow(t, NewManifests(path, strings.NewReader(""), Options{}, logr.Discard()))
}

func TestADirectoryIsFollowed(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "web.yaml"), webYAML)
	f := followPath(t, dir)
	f.until("web=30080")

	write(t, filepath.Join(dir, "api.yml"), apiYAML)
	f.until("web=30080 api=30081")

	// An editor writes beside the file and renames.
	write(t, filepath.Join(dir, ".web.yaml.swp"), "garbage: [")
	write(t, filepath.Join(dir, "web.yaml~"), "garbage: [")
	write(t, filepath.Join(dir, "web.yaml.new"), strings.ReplaceAll(webYAML, "30080", "30090"))
	must(t, os.Rename(filepath.Join(dir, "web.yaml.new"), filepath.Join(dir, "web.yaml")))
	f.until("web=30090 api=30081")

	must(t, os.Mkdir(filepath.Join(dir, "sub.yaml"), 0o700))
	must(t, os.Remove(filepath.Join(dir, "api.yml")))
	f.until("web=30090")
	if len(f.last.Problems) != 0 || f.last.Incomplete {
		t.Errorf("problems where there are none: %v", f.last)
	}
}

func TestABrokenFileIsNamedAndHeldWhileOthersAreFollowed(t *testing.T) {
	dir := t.TempDir()
	web, api := filepath.Join(dir, "web.yaml"), filepath.Join(dir, "api.yaml")
	write(t, web, webYAML)
	f := followPath(t, dir)
	f.until("web=30080")
	write(t, web, brokenYAML)
	f.untilThat("a problem in web.yaml", func() bool {
		return len(f.last.Problems) == 1 && strings.HasPrefix(f.last.Problems[0].Object, "web.yaml document 1")
	})
	write(t, api, apiYAML)
	f.until("web=30080 api=30081")
	write(t, web, strings.ReplaceAll(webYAML, "30080", "30090"))
	f.until("web=30090 api=30081")
	if len(f.last.Problems) != 0 {
		t.Errorf("problems that are mended: %v", f.last.Problems)
	}
}

func TestATruncatedFileIsGivenASecond(t *testing.T) {
	path := filepath.Join(t.TempDir(), "web.yaml")
	write(t, path, webYAML)
	f := followPath(t, path)
	f.until("web=30080")
	write(t, path, "")
	f.until("")
	write(t, path, apiYAML)
	f.until("api=30081")
}

func TestASingleFileIsFollowedThroughRenames(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "web.yaml")
	write(t, path, webYAML)
	f := followPath(t, path)
	f.until("web=30080")
	for i := range 3 {
		port := fmt.Sprint(30090 + i)
		write(t, filepath.Join(dir, "tmp"), strings.ReplaceAll(webYAML, "30080", port))
		must(t, os.Rename(filepath.Join(dir, "tmp"), path))
		f.until("web=" + port)
	}
	must(t, os.Remove(path))
	f.untilThat("the file that is gone is a problem", func() bool { return len(f.last.Problems) == 1 })
	if f.state() != "web=30092" {
		t.Errorf("a path that is gone removes what it said: %q", f.state())
	}
	write(t, path, apiYAML)
	f.until("api=30081")
}

// A ConfigMap volume: the files are links through ..data, which the kubelet swaps for another directory.
func TestAConfigMapVolumeIsFollowed(t *testing.T) {
	dir := t.TempDir()
	version := func(name, content string) {
		must(t, os.Mkdir(filepath.Join(dir, name), 0o700))
		write(t, filepath.Join(dir, name, "web.yaml"), content)
		must(t, os.Symlink(name, filepath.Join(dir, "..data_tmp")))
		must(t, os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
	}
	version("..1", webYAML)
	must(t, os.Symlink("..data/web.yaml", filepath.Join(dir, "web.yaml")))
	whole := followPath(t, dir)
	single := followPath(t, filepath.Join(dir, "web.yaml"))
	whole.until("web=30080")
	single.until("web=30080")
	version("..2", apiYAML)
	whole.until("api=30081")
	single.until("api=30081")
	must(t, os.RemoveAll(filepath.Join(dir, "..1")))
	version("..3", webYAML)
	whole.until("web=30080")
	single.until("web=30080")
}

func TestADirectoryThatIsReplacedIsFollowed(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "manifests")
	must(t, os.Mkdir(dir, 0o700))
	write(t, filepath.Join(dir, "web.yaml"), webYAML)
	f := followPath(t, dir)
	f.until("web=30080")

	must(t, os.Rename(dir, dir+".old"))
	f.untilThat("the directory that is gone is a problem", func() bool { return len(f.last.Problems) == 1 })
	if f.state() != "web=30080" {
		t.Errorf("a directory that is gone removes what it said: %q", f.state())
	}
	must(t, os.Mkdir(dir, 0o700))
	write(t, filepath.Join(dir, "web.yaml"), webYAML)
	write(t, filepath.Join(dir, "api.yaml"), apiYAML)
	f.until("web=30080 api=30081")
	write(t, filepath.Join(dir, "api.yaml"), strings.ReplaceAll(apiYAML, "30081", "30091"))
	f.until("web=30080 api=30091")
}

func TestAPathThatComesLaterIsFollowed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "manifests")
	f := followPath(t, dir)
	f.untilThat("a problem and nothing deleted", func() bool { return len(f.last.Problems) == 1 && f.last.Incomplete })
	if p := f.last.Problems[0]; p.Object != dir || p.Message != "cannot be read (no such file or directory)" {
		t.Errorf("problem %v", p)
	}
	must(t, os.Mkdir(dir, 0o700))
	write(t, filepath.Join(dir, "web.yaml"), webYAML)
	f.until("web=30080")
	if f.last.Incomplete {
		t.Error("still incomplete")
	}
}

func TestStandardInputIsReadOnce(t *testing.T) {
	f := follow(t, NewManifests("-", strings.NewReader(webYAML+"---\n"+apiYAML), Options{}, logr.Discard()))
	f.until("web=30080 api=30081")
}

func TestAStandardInputThatNobodyClosesDoesNotKeepTheAgentFromEnding(t *testing.T) {
	stdin, writer := io.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- NewManifests("-", stdin, Options{}, logr.Discard()).Run(ctx) }()
	cancel()
	must(t, <-done)
	must(t, writer.Close())
}

// One file of many changes: only its Services are translated.
func TestAChangeInOneFileConcernsItsServicesOnly(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "web.yaml"), webYAML)
	write(t, filepath.Join(dir, "api.yaml"), apiYAML)
	m := NewManifests(dir, nil, Options{}, logr.Discard())
	counting, names := counted(Options{})
	m.State = counting
	m.rescan(start())
	m.Next()
	expectTranslated(t, names, "api", "web")
	write(t, filepath.Join(dir, "api.yaml"), strings.ReplaceAll(apiYAML, "30081", "30091"))
	m.rescan(start())
	m.Next()
	expectTranslated(t, names, "api")
	m.rescan(start())
	m.Next()
	expectTranslated(t, names)
}

func TestReadManifestsFailsWhenTheInputHasNothingForIt(t *testing.T) {
	const want = "no Service, EndpointSlice or Node in standard input"
	for _, input := range []string{
		"", "\n\n", "# nothing\n---\n# here\n", "apiVersion: v1\nkind: List\nitems: null\n", "apiVersion: v1\nkind: ServiceList\nitems: []\n",
	} {
		if _, err := ReadManifests("-", strings.NewReader(input), Options{}); err == nil || err.Error() != want {
			t.Errorf("%q: error %v, want %q", input, err, want)
		}
	}
	for _, input := range []string{webYAML, "apiVersion: v1\nkind: Node\nmetadata: {name: other}\n"} {
		if _, err := ReadManifests("-", strings.NewReader(input), Options{}); err != nil {
			t.Errorf("%q: error %v", input, err)
		}
	}
}

func TestReadManifestsFailsWhenNothingCanBeRead(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Mkdir(filepath.Join(dir, "empty"), 0o700))
	write(t, filepath.Join(dir, "broken.yaml"), brokenYAML)
	must(t, os.Mkdir(filepath.Join(dir, "others"), 0o700))
	write(t, filepath.Join(dir, "others", "a.yaml"), "# nothing\n")
	write(t, filepath.Join(dir, "others", "b.yaml"), "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n")
	for path, want := range map[string]string{
		filepath.Join(dir, "missing"):     "no such file or directory",
		filepath.Join(dir, "empty"):       "no *.yaml, *.yml or *.json file in ",
		filepath.Join(dir, "others"):      "no Service, EndpointSlice or Node in " + filepath.Join(dir, "others"),
		filepath.Join(dir, "broken.yaml"): "broken.yaml document 1 (line 1): yaml: line 3: ",
	} {
		if _, err := ReadManifests(path, nil, Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", path, err, want)
		}
	}
	write(t, filepath.Join(dir, "web.yaml"), webYAML)
	write(t, filepath.Join(dir, "nothing.yaml"), "# nothing\n")
	update, err := ReadManifests(dir, nil, Options{})
	if err != nil || len(update.Services) != 1 || len(update.Problems) != 1 || !update.Incomplete {
		t.Errorf("the good file beside a broken one: %v, %v", update, err)
	}
}
