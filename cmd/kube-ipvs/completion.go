package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kube-ipvs/kube-ipvs/report"
)

func newCompletion() *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish",
		Short: "Print what makes a shell complete this command",
		Long: `Print a script that makes a shell complete commands, flags, their values and names of Services.

  bash: needs the package bash-completion
    source <(kube-ipvs completion bash)
    kube-ipvs completion bash > /etc/bash_completion.d/kube-ipvs            # for every new shell
  zsh:
    source <(kube-ipvs completion zsh)
    kube-ipvs completion zsh > "${fpath[1]}/_kube-ipvs"                     # for every new shell
  fish:
    kube-ipvs completion fish | source
    kube-ipvs completion fish > ~/.config/fish/completions/kube-ipvs.fish   # for every new shell`,
		DisableFlagsInUseLine: true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 || !slices.Contains(shells(), args[0]) {
				return fmt.Errorf("name one shell: %s", strings.Join(shells(), ", "))
			}
			return nil
		},
		ValidArgs: shells(),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch root, out := cmd.Root(), cmd.OutOrStdout(); args[0] {
			case "bash":
				return root.GenBashCompletionV2(out, true)
			case "zsh":
				return root.GenZshCompletion(out)
			default:
				return root.GenFishCompletion(out, true)
			}
		},
	}
}

func shells() []string { return []string{"bash", "zsh", "fish"} }

// completeFlags lets shells complete the values of the flags that a command has. There is no argument to complete unless
// the command says so.
func completeFlags(cmd *cobra.Command) {
	if cmd.ValidArgsFunction == nil && len(cmd.ValidArgs) == 0 {
		cmd.ValidArgsFunction = cobra.NoFileCompletions
	}
	known := completions()
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		complete, is := known[f.Name]
		switch {
		case is:
		case takesFile(f.Name) || f.Value.Type() == "bool":
			return
		default:
			complete = cobra.NoFileCompletions
		}
		_ = cmd.RegisterFlagCompletionFunc(f.Name, complete) // the command has one of its own already
	})
}

// takesFile reports whether the value of a flag is a path.
func takesFile(flag string) bool {
	return slices.Contains([]string{"kubeconfig", "manifests", "config", "state-dir"}, flag)
}

// completions are the values that flags know, by the names of the flags.
func completions() map[string]cobra.CompletionFunc {
	return map[string]cobra.CompletionFunc{
		"ipvs-scheduler":         oneOf(kernelSchedulers...),
		"allowed-schedulers":     listOf(func() []string { return kernelSchedulers }),
		"masquerade":             oneOf("all", "remote"),
		"detect-local-mode":      oneOf(detectLocalModes()...),
		"nodeport-source-ranges": oneOf(rangesFromAnnotation, rangesFromSpec),
		"port-conflict":          oneOf(conflictWarn, conflictSkip),
		"logging-format":         oneOf(logText, logJSON),
		"traffic-metrics":        oneOf(trafficDetails()...),
		"sort":                   oneOf(topOrders()...),
		"nodeport-addresses":     listOf(addressWords),
		"pod-bridge-interface":   completeInterface,
		"output":                 completeFormat,
	}
}

func oneOf(words ...string) cobra.CompletionFunc {
	return cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)
}

func completeInterface(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return links(), cobra.ShellCompDirectiveNoFileComp
}

// addressWords are the entries of --nodeport-addresses that are not numbers, for the interfaces of this node.
func addressWords() []string {
	words := []string{"primary", "all"}
	for _, link := range links() {
		if link != "lo" { // which never serves
			words = append(words, "iface:"+link)
		}
	}
	return words
}

// listOf completes the last element of a list.
func listOf(words func() []string) cobra.CompletionFunc {
	return func(_ *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		before := typed[:strings.LastIndex(typed, ",")+1]
		given := strings.Split(before, ",")
		var offers []string
		for _, word := range words() {
			if !slices.Contains(given, word) {
				offers = append(offers, before+word)
			}
		}
		return offers, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	}
}

func completeFormat(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	formats := cmd.Flag("output").Annotations[formatsOf]
	if formats == nil {
		for _, f := range report.Formats() {
			formats = append(formats, string(f))
		}
	}
	return formats, cobra.ShellCompDirectiveNoFileComp
}
