package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

const flagsIntro = `# Flags

Made from the flags themselves: ` + "`UPDATE_GOLDEN=1 go test ./cmd/kube-ipvs`" + ` writes this page.

A command that has ` + "`--config`" + ` takes values of its flags from a YAML file, too: one mapping from names without dashes to
values, in which a list may be a list. The command line wins. One file serves all commands: each takes what it knows of run's flags.
Everything that is wrong is named in one answer. The flags in force of a running agent are at /flagz of its metrics address.

Flags that kube-proxy has as well carry its names. Every command has ` + "`--help`" + `, and kube-ipvs itself has ` + "`--version`" + `.
`

// docs/flags.md says what every flag of every command means, and cannot forget any. What is said of one command is not said
// again of another.
func TestTheReferenceOfFlagsIsWhatTheFlagsSay(t *testing.T) {
	page := &flagsPage{headings: map[string]int{}}
	page.WriteString(flagsIntro)
	for _, cmd := range commands() {
		groups := slices.DeleteFunc(groupsOf(cmd), func(g group) bool { return !g.flags.HasAvailableFlags() })
		if len(groups) == 0 {
			continue
		}
		name := strings.Join(words(cmd), " ")
		link := page.heading("##", name)
		fmt.Fprintf(page, "\n%s: `%s`\n", cmd.Short, cmd.UseLine())
		own := page.writeShared(groups)
		for _, g := range own {
			at := page.heading("###", g.name)
			page.written = append(page.written, writtenGroup{group: g, link: at, of: fmt.Sprintf("[%s](%s)", name, link)})
			writeGroup(&page.Builder, g)
		}
	}
	compareGolden(t, "../../docs/flags.md", page.String())
}

// flagsPage is docs/flags.md while it is written.
type flagsPage struct {
	strings.Builder
	headings map[string]int
	written  []writtenGroup
}

// writtenGroup is a table that the page has already, and whose it is.
type writtenGroup struct {
	group
	link, of string
}

// heading writes one and returns how it is linked to: a number tells those of the same words apart.
func (p *flagsPage) heading(level, text string) string {
	fmt.Fprintf(p, "\n%s %s\n", level, text)
	anchor := strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-', 'a' <= r && r <= 'z', '0' <= r && r <= '9':
			return r
		}
		return -1
	}, strings.ToLower(text))
	n := p.headings[anchor]
	p.headings[anchor]++
	if n > 0 {
		anchor += fmt.Sprintf("-%d", n)
	}
	return "#" + anchor
}

// writeShared says where the flags stand that are written already, and returns the others.
func (p *flagsPage) writeShared(groups []group) (own []group) {
	links := map[string][]string{}
	for _, g := range groups {
		for _, w := range p.written {
			var same []string
			rest := newGroup(g.name)
			g.flags.VisitAll(func(f *pflag.Flag) {
				if f.Hidden {
					return
				}
				if o := w.flags.Lookup(f.Name); w.name == g.name && o != nil && o.Usage == f.Usage && o.DefValue == f.DefValue {
					same = append(same, "`--"+f.Name+"`")
				} else {
					rest.flags.AddFlag(f)
				}
			})
			if len(same) == 0 {
				continue
			}
			g = rest
			link := fmt.Sprintf("[%s](%s)", w.name, w.link)
			if total := count(w.flags); len(same) < total {
				link += " (" + strings.Join(same, ", ") + ")"
			}
			links[w.of] = append(links[w.of], link)
		}
		if g.flags.HasAvailableFlags() {
			own = append(own, g)
		}
	}
	for _, w := range p.written {
		if list := links[w.of]; len(list) > 0 {
			fmt.Fprintf(p, "\nAs for %s: %s.\n", w.of, strings.Join(list, "; "))
			delete(links, w.of)
		}
	}
	return own
}

// count is how many flags people see.
func count(flags *pflag.FlagSet) int {
	n := 0
	flags.VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			n++
		}
	})
	return n
}

func writeGroup(b *strings.Builder, g group) {
	b.WriteString("\n| flag | default | meaning |\n|---|---|---|\n")
	g.flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		value, usage := pflag.UnquoteUsage(f)
		name := "`--" + f.Name
		switch {
		case f.Shorthand == f.Name:
			name = "`-" + f.Name
		case f.Shorthand != "":
			name = "`-" + f.Shorthand + "`, " + name
		}
		if value != "" {
			name += " " + value
		}
		preset := f.DefValue
		if f.Value.Type() == "stringSlice" || f.Value.Type() == stringArray {
			preset = strings.Trim(preset, "[]")
		}
		if preset != "" {
			preset = "`" + strings.ReplaceAll(preset, ",", ", ") + "`"
		}
		fmt.Fprintf(b, "| %s` | %s | %s |\n", name, preset, strings.NewReplacer("|", `\|`, "*", `\*`, "<", "&lt;").Replace(usage))
	})
}
