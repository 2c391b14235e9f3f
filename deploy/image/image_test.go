package image

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// instructions of a Dockerfile, continued lines joined.
func instructions(dockerfile string) []string {
	var all []string
	for line := range strings.SplitSeq(strings.ReplaceAll(dockerfile, "\\\n", " "), "\n") {
		if line = strings.Join(strings.Fields(line), " "); line != "" && !strings.HasPrefix(line, "#") {
			all = append(all, line)
		}
	}
	return all
}

// What the tests run is what is shipped: the image has nothing that `make rootfs` does not build.
func TestImageIsTheRootFileSystemOfMakeRootfs(t *testing.T) {
	steps := instructions(read(t, "deploy/image/Dockerfile"))
	last := slices.IndexFunc(steps, func(s string) bool { return s == "FROM scratch" })
	if last < 0 || slices.ContainsFunc(steps[last+1:], func(s string) bool { return strings.HasPrefix(s, "FROM") }) {
		t.Fatalf("the last stage is not FROM scratch: %q", steps)
	}
	var content, others []string
	for _, s := range steps[last+1:] {
		switch verb, _, _ := strings.Cut(s, " "); verb {
		case "COPY", "ADD", "RUN":
			content = append(content, s)
		case "LABEL", "ENV", "ENTRYPOINT":
		default:
			others = append(others, s)
		}
	}
	if want := []string{"COPY --from=build --chown=0:0 /rootfs/ /"}; !slices.Equal(content, want) || len(others) > 0 {
		t.Errorf("the image is filled by %q and %q, want %q", content, others, want)
	}
	const command = "go run ./deploy/image/build -arch"
	if !strings.Contains(strings.Join(steps[:last], "\n"), command+` "$TARGETARCH" -version "$VERSION" -out /rootfs`) {
		t.Errorf("/rootfs is not built by %q", command)
	}
	if !strings.Contains(strings.ReplaceAll(read(t, "Makefile"), "$(GO)", "go"), command) {
		t.Errorf("make rootfs is not %q", command)
	}
}

func TestImageStartsTheAgentAndFindsNFT(t *testing.T) {
	steps := instructions(read(t, "deploy/image/Dockerfile"))
	if !slices.Contains(steps, `ENTRYPOINT ["`+Agent+`"]`) {
		t.Errorf("the entry point is not %s", Agent)
	}
	path := steps[slices.IndexFunc(steps, func(s string) bool { return strings.HasPrefix(s, "ENV PATH=") })]
	if !slices.Contains(strings.Split(strings.TrimPrefix(path, "ENV PATH="), ":"), filepath.Dir(NFT)) {
		t.Errorf("%s is not in %s", NFT, path)
	}
}

func TestImageIsBuiltWithTheModulesGo(t *testing.T) {
	want := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(read(t, "go.mod"))[1]
	got := regexp.MustCompile(`golang:(\d+\.\d+)-`).FindStringSubmatch(read(t, "deploy/image/Dockerfile"))[1]
	if got != want {
		t.Errorf("the image is built with Go %s, the module wants %s", got, want)
	}
}

func TestPlannedArchivesAreNamedAsAptKeepsThem(t *testing.T) {
	plan := `NOTE: This is only a simulation!
Inst gcc-12-base (12.2.0-14+deb12u1 Debian:12.15/oldstable [arm64])
Inst libgmp10 (2:6.2.1+dfsg1-1.1 Debian:12.15/oldstable [arm64])
Inst netbase (6.4 Debian:12.15/oldstable [all]) [base-files:arm64 ]
Conf netbase (6.4 Debian:12.15/oldstable [all])
`
	want := []string{
		"gcc-12-base_12.2.0-14+deb12u1_arm64.deb", "libgmp10_2%3a6.2.1+dfsg1-1.1_arm64.deb", "netbase_6.4_all.deb",
	}
	if diff := cmp.Diff(want, plannedArchives(plan)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestARootFileSystemIsThereWholeOrNotAtAll(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out", "rootfs")
	fill := func(content string, err error) func(string) error {
		return func(root string) error {
			file := filepath.Join(root, Agent)
			return errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(content), 0o600), err)
		}
	}
	content := func() string {
		text, err := os.ReadFile(filepath.Join(out, Agent))
		if err != nil {
			return err.Error()
		}
		return string(text)
	}
	interrupted := errors.New("interrupted")
	if err := replace(out, fill("half", interrupted)); !errors.Is(err, interrupted) {
		t.Error(err)
	}
	if _, err := os.Stat(out); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("half of it is there: %v", err)
	}
	for _, step := range []struct {
		content string
		err     error
		want    string
	}{{"first", nil, "first"}, {"half", interrupted, "first"}, {"second", nil, "second"}} {
		if err := replace(out, fill(step.content, step.err)); !errors.Is(err, step.err) {
			t.Error(err)
		}
		if got := content(); got != step.want {
			t.Errorf("there is %q, want %q", got, step.want)
		}
	}
	left, err := os.ReadDir(filepath.Dir(out))
	if err != nil || len(left) != 1 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestADirectoryOfSomebodyElseIsNotReplaced(t *testing.T) {
	out := t.TempDir()
	if err := replace(out, func(root string) error { return os.MkdirAll(filepath.Join(root, filepath.Dir(Agent)), 0o755) }); err != nil {
		t.Errorf("an empty one: %v", err)
	}
	if err := os.WriteFile(filepath.Join(out, "precious"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := replace(out, func(string) error { return nil }); err == nil {
		t.Error("no error")
	}
	if _, err := os.Stat(filepath.Join(out, "precious")); err != nil {
		t.Error(err)
	}
}

func TestUnknownArchitectureIsRefused(t *testing.T) {
	if _, err := LibraryDirs("pdp11"); err == nil {
		t.Error("no error")
	}
}

// A copyright file refers to the text of a long licence by its path, sometimes through a link.
func TestLicencesAreThereWithTheirText(t *testing.T) {
	tr := &tree{root: t.TempDir(), from: t.TempDir()}
	dir := filepath.Join(tr.from, licences)
	err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, "GPL-3"), []byte("three"), 0o600), os.Symlink("GPL-3", filepath.Join(dir, "GPL")))
	if err != nil {
		t.Fatal(err)
	}
	if err := tr.copyLicences(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"GPL", "GPL-3"} {
		if text, err := os.ReadFile(filepath.Join(tr.root, licences, name)); err != nil || string(text) != "three" {
			t.Errorf("%s: %q, %v", name, text, err)
		}
	}
	if err := (&tree{root: t.TempDir(), from: t.TempDir()}).copyLicences(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without licences: %v", err)
	}
}

func TestTheDockerfileLeavesTheBuildOurLicence(t *testing.T) {
	if read(t, "LICENSE") == "" || strings.Contains(read(t, "deploy/image/Dockerfile.dockerignore"), "LICENSE") {
		t.Error("the build does not see LICENSE")
	}
}
