package main

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/kube-ipvs/kube-ipvs/"

// floors are the layers of the house, the deepest first. A package imports what lies on a lower floor, and packages
// inside its own folder.
func floors() [][]string {
	return [][]string{
		{"frontend"},
		{"allocator", "nodeaddr", "filter", "healthcheck", "host", "ipvs"},
		{"sync"},
		{"sync/kube", "traffic"},
		{"report"},
		{"report/page", "report/top"},
		{"cmd"},
		{"deploy"},
		{"e2e"},
	}
}

// home is the room of the house that a package lies in and the floor of that room.
func home(pkg string) (room string, floor int) {
	floor = -1
	for n, rooms := range floors() {
		for _, r := range rooms {
			if (pkg == r || strings.HasPrefix(pkg, r+"/")) && len(r) > len(room) {
				room, floor = r, n
			}
		}
	}
	return room, floor
}

func TestImportsPointOneWay(t *testing.T) {
	root := filepath.Join("..", "..")
	seen := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		rel, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		pkg := filepath.ToSlash(rel)
		room, floor := home(pkg)
		if floor < 0 {
			t.Errorf("%s is in no room of the house: see floors", pkg)
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			seen++
			checkArrow(t, path, imported, room, floor)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen < 100 {
		t.Errorf("only %d imports were looked at: the walk does not see the tree", seen)
	}
}

func checkArrow(t *testing.T, path, imported, room string, floor int) {
	t.Helper()
	_, kube := home("sync/kube")
	if strings.HasPrefix(imported, "k8s.io/") && floor < kube {
		t.Errorf("%s imports %s: only cmd, sync/kube and e2e know Kubernetes", path, imported)
	}
	own, is := strings.CutPrefix(imported, module)
	if !is {
		return
	}
	to, below := home(own)
	if to != room && below >= floor {
		t.Errorf("%s imports %s: imports point from the outer floors to the inner ones", path, own)
	}
}

func TestArrowsThatPointTheWrongWayAreFound(t *testing.T) {
	for pkg, imported := range map[string]string{
		"ipvs":      module + "sync",
		"filter":    module + "ipvs",
		"sync":      module + "sync/kube",
		"frontend":  module + "ipvs",
		"sync/kube": module + "cmd/kube-ipvs",
		"nodeaddr":  "k8s.io/api/core/v1",
	} {
		room, floor := home(pkg)
		found := &testing.T{}
		checkArrow(found, pkg+"/x.go", imported, room, floor)
		if !found.Failed() {
			t.Errorf("%s may not import %s, but that was not found", pkg, imported)
		}
	}
}
