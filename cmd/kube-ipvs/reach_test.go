package main

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/printer"
	"go/token"
	"io/fs"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// calls are those of the agent's own code whose function is wanted, as "file: function(arguments)". A function is called by its package's
// path and its name, a method by its name alone, and a struct that is filled in by hand like a function without arguments.
func calls(t *testing.T, wanted func(function string) bool) []string {
	t.Helper()
	root := filepath.Join("..", "..")
	var found []string
	files := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := filepath.ToSlash(strings.TrimPrefix(path, root+string(filepath.Separator)))
		if d.IsDir() {
			// What is not linked into the agent, and what tests alone use.
			outside := slices.Contains([]string{".git", "e2e", "deploy", "docs"}, name)
			if outside || strings.HasSuffix(name, "test") || strings.HasSuffix(name, "fake") {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		files++
		at := token.NewFileSet()
		file, err := parser.ParseFile(at, path, nil, 0)
		if err != nil {
			return err
		}
		imports := importNames(file)
		ast.Inspect(file, func(n ast.Node) bool {
			var function string
			var arguments []ast.Expr
			switch n := n.(type) {
			case *ast.CallExpr:
				function, arguments = called(n.Fun, imports), n.Args
			case *ast.CompositeLit:
				function = called(n.Type, imports)
			}
			if function != "" && wanted(function) {
				var texts []string
				for _, a := range arguments {
					var text bytes.Buffer
					_ = printer.Fprint(&text, at, a) // a buffer takes everything
					texts = append(texts, text.String())
				}
				found = append(found, name+": "+function+"("+strings.Join(texts, ", ")+")")
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 150 {
		t.Errorf("only %d files were looked at: the walk does not see the tree", files)
	}
	slices.Sort(found)
	return found
}

// called is what calls says of a function.
func called(function ast.Expr, imports map[string]string) string {
	switch f := function.(type) {
	case *ast.Ident:
		return f.Name
	case *ast.SelectorExpr:
		if x, is := f.X.(*ast.Ident); is && imports[x.Name] != "" {
			return imports[x.Name] + "." + f.Sel.Name
		}
		return f.Sel.Name
	}
	return ""
}

// importNames are the packages of a file by the names that it has for them.
func importNames(file *ast.File) map[string]string {
	names := map[string]string{}
	for _, spec := range file.Imports {
		path, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue
		}
		name := path[strings.LastIndex(path, "/")+1:]
		if spec.Name != nil {
			name = spec.Name.Name
		}
		names[name] = path
	}
	return names
}

// A new line here is a program that the node has to have, and one more that an agent without a shell starts: security.md names them.
func TestNftAndModprobeAreAllThatIsStarted(t *testing.T) {
	got := calls(t, func(function string) bool {
		path, name := filepath.Split(strings.ReplaceAll(function, ".", "/"))
		switch {
		case strings.HasPrefix(path, "os/exec/"):
			return true
		case strings.HasPrefix(name, "Exec"), strings.HasPrefix(name, "Fork"), name == "StartProcess", name == "PtraceCont":
			return path == "syscall/" || path == "os/" || strings.HasSuffix(path, "unix/")
		}
		return false
	})
	want := []string{
		`cmd/kube-ipvs/run.go: os/exec.CommandContext(ctx, "modprobe", "ip_vs")`,
		`filter/program.go: os/exec.CommandContext(ctx, "nft", args)`,
		`filter/table.go: os/exec.LookPath("nft")`,
		`host/check_nft.go: os/exec.CommandContext(ctx, name, args)`, // a host.Runner, of check alone
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("programs are started by (-want +got):\n%s", diff)
	}
	for _, call := range calls(t, func(function string) bool { return function == "run" }) {
		if strings.HasPrefix(call, "host/") && !strings.Contains(call, `: run(ctx, "nft", `) {
			t.Errorf("check starts more than nft: %s", call)
		}
	}
}

// What is linked in beside our own code may start programs too.
func TestLibrariesThatStartProgramsAreKnown(t *testing.T) {
	const format = `{{$path := .ImportPath}}{{if not .Standard}}` +
		`{{range .Imports}}{{if or (eq . "os/exec") (eq . "plugin")}}{{$path}} {{end}}{{end}}{{end}}`
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", format, ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, path := range strings.Fields(string(out)) {
		if !strings.HasPrefix(path, module) {
			got = append(got, path)
		}
	}
	slices.Sort(got)
	want := []string{
		"charm.land/bubbletea/v2",                      // what its caller gives it, which top never does
		"github.com/charmbracelet/colorprofile",        // tmux info, for top in a tmux
		"github.com/google/gnostic-models/compiler",    // handlers of extensions of OpenAPI documents: there are none
		"k8s.io/client-go/plugin/pkg/client/auth/exec", // what the kubeconfig names as credential plugin
		"sigs.k8s.io/knftables",                        // nft, but not by us
	}
	if diff := cmp.Diff(want, slices.Compact(got)); diff != "" {
		t.Errorf("programs may be started by (-want +got):\n%s", diff)
	}
}

// A path or a host that comes from an object of the API server would be one that its author chooses. These are all files that are opened
// and all connections that are made, but for client-go's to the API server: paths and names are those of the kernel, of flags, and of
// the agent's own sockets.
func TestNoObjectNamesAFileOrAHost(t *testing.T) {
	opens := []string{
		"Open", "OpenFile", "OpenRoot", "ReadFile", "ReadDir", "WriteFile", "Create", "CreateTemp", "DirFS", "CopyFS", "Walk", "WalkDir",
		"Glob", "Readlink", "Stat",
	}
	asks := []string{
		"Client", "Transport", "Get", "Head", "Post", "PostForm", "NewRequest", "NewRequestWithContext", "ServeFile", "FileServer", "Dir",
	}
	got := calls(t, func(function string) bool {
		dot := strings.LastIndex(function, ".")
		path, name := function[:max(dot, 0)], function[dot+1:]
		switch {
		case strings.HasPrefix(name, "Dial"), name == "Connect", strings.HasPrefix(name, "Lookup") && path == "net":
			return true
		case path == "net/http":
			return slices.Contains(asks, name)
		}
		return slices.Contains(opens, name) && (path == "os" || path == "path/filepath" || strings.HasSuffix(path, "/unix") || path == "syscall")
	})
	named := map[string][]string{ // by whom
		"the kernel": {
			`cmd/kube-ipvs/check.go: os.DirFS("/proc")`,
			`cmd/kube-ipvs/check.go: os.Open("/proc/self/status")`,
			`cmd/kube-ipvs/listeners.go: os.DirFS("/proc")`,
			`cmd/kube-ipvs/memory.go: os.ReadFile(m.ownCgroup)`,
			`cmd/kube-ipvs/memory.go: os.ReadFile(path)`,
			`host/check_sysctl.go: os.DirFS(orDefault(s.Root, defaultRoot))`,
			`host/holder.go: os.DirFS("/proc")`,
			`host/reserved.go: os.OpenFile(r.path(), os.O_WRONLY, 0)`,
			`host/reserved_value.go: os.Open(path)`,
			`host/sysctl.go: os.OpenFile(s.path(name), os.O_WRONLY | os.O_TRUNC, 0)`,
			`host/sysctl.go: os.ReadFile(s.path(name))`,
			`ipvs/socket_linux.go: golang.org/x/sys/unix.Connect(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Pid: nl.PidKernel})`,
			`ipvs/stats_linux.go: os.Open("/proc/thread-self/net/ip_vs")`,
		},
		"the agent's name, or --agent-socket": {
			`cmd/kube-ipvs/client.go: DialContext(ctx, "unix", socket)`,
		},
		"goes to that socket": {
			`cmd/kube-ipvs/client.go: net/http.Client()`,
			`cmd/kube-ipvs/client.go: net/http.NewRequestWithContext(ctx, method, "http://agent" + path, &body)`,
			`cmd/kube-ipvs/client.go: net/http.Transport()`,
		},
		"--config": {
			`cmd/kube-ipvs/config.go: os.ReadFile(path)`,
		},
		"the agent's two names, or --agent-socket": {
			`host/holder.go: net.DialTimeout("unix", name, time.Second)`,
		},
		"--state-dir": {
			`host/record.go: os.CreateTemp(filepath.Dir(path), ".sysctls-*")`,
			`host/record.go: os.ReadFile(path)`,
		},
		"--manifests": {
			`sync/kube/manifests.go: os.ReadDir(m.path)`,
			`sync/kube/manifests.go: os.ReadFile(path)`,
			`sync/kube/manifests.go: os.Stat(m.path)`,
			`sync/kube/manifests.go: os.Stat(path)`,
		},
	}
	want := slices.Concat(slices.Collect(maps.Values(named))...)
	slices.Sort(want)
	if diff := cmp.Diff(want, slices.Compact(got)); diff != "" {
		t.Errorf("files are opened and connections made by (-want +got):\n%s", diff)
	}
}
