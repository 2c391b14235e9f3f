package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kube-ipvs/kube-ipvs/report"
)

// group is a named set of flags, as --help and the docs show it.
type group struct {
	name  string
	flags *pflag.FlagSet
}

func newGroup(name string) group {
	g := group{name: name, flags: pflag.NewFlagSet(name, pflag.ContinueOnError)}
	g.flags.SortFlags = false
	return g
}

// groupOf is the annotation with which a flag says what group it is in.
const groupOf = "kube-ipvs.io/group"

// addGroups adds the flags of all groups to a command, makes its help list them by group, and lets shells complete them.
func addGroups(cmd *cobra.Command, groups ...group) {
	for _, g := range groups {
		g.flags.VisitAll(func(f *pflag.Flag) { _ = g.flags.SetAnnotation(f.Name, groupOf, []string{g.name}) }) // it is there
		cmd.Flags().AddFlagSet(g.flags)
	}
	cmd.Flags().SortFlags = false
	cmd.SetUsageFunc(func(cmd *cobra.Command) error {
		fmt.Fprintf(cmd.OutOrStderr(), "Usage:\n  %s\n", cmd.UseLine())
		if cmd.HasExample() {
			fmt.Fprintf(cmd.OutOrStderr(), "\nExamples:\n%s\n", cmd.Example)
		}
		for _, g := range groupsOf(cmd) {
			if !g.flags.HasAvailableFlags() {
				continue // those of tests
			}
			fmt.Fprintf(cmd.OutOrStderr(), "\n%s:\n%s", g.name, usages(g.flags))
		}
		return nil
	})
	completeFlags(cmd)
}

// groupsOf are those that addGroups gave to a command, in that order.
func groupsOf(cmd *cobra.Command) []group {
	var groups []group
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		names := f.Annotations[groupOf]
		if len(names) == 0 {
			return // --help
		}
		i := slices.IndexFunc(groups, func(g group) bool { return g.name == names[0] })
		if i < 0 {
			i, groups = len(groups), append(groups, newGroup(names[0]))
		}
		groups[i].flags.AddFlag(f)
	})
	return groups
}

// usages wraps the text of flags at 100 columns.
func usages(flags *pflag.FlagSet) string { return flags.FlagUsagesWrapped(100) }

// formatsOf is the annotation with which -o says what formats there are.
const formatsOf = "kube-ipvs.io/formats"

// outputGroup has -o, with the formats that every command has that shows something, and more.
func outputGroup(target *string, more ...string) group {
	var formats []string
	for _, f := range report.Formats() {
		formats = append(formats, string(f))
	}
	formats = append(formats, more...)
	last := len(formats) - 1
	g := newGroup("Output")
	g.flags.StringVarP(target, "output", "o", string(report.Table), fmt.Sprintf("`format`: %s or %s", strings.Join(formats[:last], ", "), formats[last]))
	_ = g.flags.SetAnnotation("output", formatsOf, formats) // it is there
	return g
}
