package lab

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// ErrNoModule is returned for a name that is neither a module nor an alias of one.
var ErrNoModule = errors.New("not found")

// ModuleIndex finds modules by name and by alias, in the files that depmod writes.
type ModuleIndex struct {
	files   map[string]string   // name → file, relative to the directory
	needs   map[string][]string // name → files it needs, nearest first
	soft    map[string][]string // name → names to try before it
	builtin map[string]bool
	aliases []moduleAlias
}

type moduleAlias struct{ pattern, name string }

// LoadModuleIndex reads modules.dep, modules.alias, modules.softdep and modules.builtin of a directory
// (/lib/modules/VERSION). Only the first must exist.
func LoadModuleIndex(dir string) (*ModuleIndex, error) {
	x := &ModuleIndex{
		files:   map[string]string{},
		needs:   map[string][]string{},
		soft:    map[string][]string{},
		builtin: map[string]bool{},
	}
	for _, f := range []struct {
		name string
		line func(string)
	}{
		{"modules.dep", x.dep},
		{"modules.alias", x.alias},
		{"modules.softdep", x.softdep},
		{"modules.builtin", x.built},
	} {
		err := eachLine(filepath.Join(dir, f.name), f.line)
		if err != nil && (f.name == "modules.dep" || !errors.Is(err, fs.ErrNotExist)) {
			return nil, fmt.Errorf("read module index: %w", err)
		}
	}
	return x, nil
}

// Resolve returns the files to load, in order, for a module's name or an alias that the kernel asks for, such as
// "net-pf-16-proto-16-family-IPVS". Nothing is to be loaded for a module that is built in. An unknown name is
// ErrNoModule.
func (x *ModuleIndex) Resolve(want string) ([]string, error) {
	name := normalName(want)
	if x.builtin[name] {
		return nil, nil
	}
	var order []string
	seen := map[string]bool{}
	if x.files[name] != "" {
		x.add(name, seen, &order)
		return order, nil
	}
	for _, a := range x.aliases {
		if ok, _ := path.Match(a.pattern, name); ok {
			x.add(a.name, seen, &order)
		}
	}
	if len(order) == 0 {
		return nil, fmt.Errorf("module %s %w", want, ErrNoModule)
	}
	return order, nil
}

// add appends a module's files to the order, what it needs first. Files that are there already are not repeated.
func (x *ModuleIndex) add(name string, seen map[string]bool, order *[]string) {
	file := x.files[name]
	if file == "" || seen[file] {
		return
	}
	seen[file] = true
	for _, s := range x.soft[name] {
		x.add(s, seen, order)
	}
	for i := len(x.needs[name]) - 1; i >= 0; i-- {
		x.add(moduleName(x.needs[name][i]), seen, order)
	}
	*order = append(*order, file)
}

func (x *ModuleIndex) dep(line string) {
	file, needs, ok := strings.Cut(line, ":")
	if !ok {
		return
	}
	x.files[moduleName(file)] = file
	x.needs[moduleName(file)] = strings.Fields(needs)
}

func (x *ModuleIndex) alias(line string) {
	f := strings.Fields(line)
	if len(f) == 3 && f[0] == "alias" {
		x.aliases = append(x.aliases, moduleAlias{normalName(f[1]), normalName(f[2])})
	}
}

func (x *ModuleIndex) softdep(line string) {
	f := strings.Fields(line)
	if len(f) > 2 && f[0] == "softdep" {
		x.soft[normalName(f[1])] = softPre(strings.Join(f[2:], " "))
	}
}

func (x *ModuleIndex) built(line string) { x.builtin[moduleName(line)] = true }

// writeModuleIndex adds the modules and the files that LoadModuleIndex reads to an archive.
func writeModuleIndex(a *archive, dir string, modules []module, builtin []byte) {
	byName := map[string]module{}
	for _, m := range modules {
		byName[moduleName(m.Path)] = m
	}
	var dep, alias, soft strings.Builder
	for _, m := range modules {
		a.file(path.Join(dir, m.Path), 0o644, m.Data)
		fmt.Fprintf(&dep, "%s:", m.Path)
		for _, n := range allNeeds(m, byName) {
			fmt.Fprintf(&dep, " %s", n)
		}
		dep.WriteByte('\n')
		for _, p := range m.Aliases {
			fmt.Fprintf(&alias, "alias %s %s\n", p, moduleName(m.Path))
		}
		if len(m.Soft) > 0 {
			fmt.Fprintf(&soft, "softdep %s pre: %s\n", moduleName(m.Path), strings.Join(m.Soft, " "))
		}
	}
	a.file(path.Join(dir, "modules.dep"), 0o644, []byte(dep.String()))
	a.file(path.Join(dir, "modules.alias"), 0o644, []byte(alias.String()))
	a.file(path.Join(dir, "modules.softdep"), 0o644, []byte(soft.String()))
	a.file(path.Join(dir, "modules.builtin"), 0o644, builtin)
}

// allNeeds returns the files of what a module needs, directly and indirectly. Loading them from the last to the
// first finds each one's own needs loaded.
func allNeeds(m module, byName map[string]module) []string {
	var after []string // in loading order
	seen := map[string]bool{}
	var visit func(module)
	visit = func(m module) {
		for _, d := range m.Depends {
			n, ok := byName[d]
			if !ok || seen[d] {
				continue
			}
			seen[d] = true
			visit(n)
			after = append(after, n.Path)
		}
	}
	visit(m)
	for i, j := 0, len(after)-1; i < j; i, j = i+1, j-1 {
		after[i], after[j] = after[j], after[i]
	}
	return after
}

func eachLine(file string, line func(string)) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	for s.Scan() {
		if t := s.Text(); t != "" && !strings.HasPrefix(t, "#") {
			line(t)
		}
	}
	return s.Err()
}
