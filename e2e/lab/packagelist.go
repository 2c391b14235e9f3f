package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"path/filepath"
	"sort"
	"strings"
)

// KernelTag is the build tag of tests that need the lab.
const KernelTag = "kernel"

// Package is a Go package with tests for the lab.
type Package struct {
	Path string // import path
	Name string // as the user would write it: ./ipvs
	Dir  string
	// Tests are the names of the test functions in files that KernelTag adds. They alone are run unless the user asks
	// for others: `go test` runs the rest natively, which is far quicker. Empty: the package has no such file.
	Tests []string
}

// listed is what `go list -json` says.
type listed struct {
	ImportPath, Dir           string
	Module                    struct{ Dir string }
	TestGoFiles, XTestGoFiles []string
}

// ListPackages returns the packages that the patterns name. A pattern with "..." names those of its packages that
// have kernel tests.
func ListPackages(ctx context.Context, patterns []string) ([]Package, error) {
	var packages []Package
	seen := map[string]bool{}
	for _, p := range patterns {
		found, err := listPattern(ctx, p)
		if err != nil {
			return nil, err
		}
		for _, f := range found {
			if !seen[f.Path] {
				seen[f.Path] = true
				packages = append(packages, f)
			}
		}
	}
	if len(packages) == 0 {
		return nil, errors.New("no package with kernel tests (files with //go:build kernel) matches " + strings.Join(patterns, " "))
	}
	return packages, nil
}

func listPattern(ctx context.Context, pattern string) ([]Package, error) {
	tagged, err := goList(ctx, "-tags", KernelTag, pattern)
	if err != nil {
		return nil, err
	}
	plain, err := goList(ctx, "-e", pattern) // -e: a package may be all kernel tests
	if err != nil {
		return nil, err
	}
	untagged := map[string]bool{}
	for _, l := range plain {
		for _, f := range l.files() {
			untagged[f] = true
		}
	}
	var packages []Package
	for _, l := range tagged {
		p := Package{Path: l.ImportPath, Dir: l.Dir, Name: l.name()}
		for _, f := range l.files() {
			if untagged[f] {
				continue
			}
			tests, err := testFunctions(f)
			if err != nil {
				return nil, err
			}
			p.Tests = append(p.Tests, tests...)
		}
		sort.Strings(p.Tests)
		if len(p.Tests) > 0 || !strings.Contains(pattern, "...") {
			packages = append(packages, p)
		}
	}
	return packages, nil
}

func (l listed) files() []string {
	var files []string
	for _, f := range append(append([]string{}, l.TestGoFiles...), l.XTestGoFiles...) {
		files = append(files, filepath.Join(l.Dir, f))
	}
	return files
}

func (l listed) name() string {
	rel, err := filepath.Rel(l.Module.Dir, l.Dir)
	if err != nil {
		return l.ImportPath
	}
	return "./" + filepath.ToSlash(rel)
}

func goList(ctx context.Context, args ...string) ([]listed, error) {
	out, err := output(ctx, "", "go", append([]string{"list", "-json=ImportPath,Dir,Module,TestGoFiles,XTestGoFiles"}, args...)...)
	if err != nil {
		return nil, err
	}
	var all []listed
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var l listed
		if err := d.Decode(&l); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, fmt.Errorf("read output of go list: %w", err)
		}
		all = append(all, l)
	}
}

// testFunctions returns the names of the Test functions that a file declares.
func testFunctions(file string) ([]string, error) {
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
	if err != nil {
		return nil, fmt.Errorf("find tests: %w", err)
	}
	var names []string
	for _, d := range f.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if ok && fn.Recv == nil && strings.HasPrefix(fn.Name.Name, "Test") && fn.Name.Name != "TestMain" {
			names = append(names, fn.Name.Name)
		}
	}
	return names, nil
}
