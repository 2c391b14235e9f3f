package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"sigs.k8s.io/yaml"
)

// loadConfig sets the flags that a YAML file names and the command line does not. The file is one mapping from flag
// names, without the dashes, to values; a list may be written as a YAML list. One file serves all commands: flags of run
// that a command does not have are passed over. Everything wrong with it is joined.
func loadConfig(path string, flags *pflag.FlagSet) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("--config: %w", err)
	}
	if documents := documentsIn(data); documents > 1 {
		return fmt.Errorf("--config %s: %d YAML documents are in it: it has to be one mapping from flag names to values", path, documents)
	}
	var values map[string]any
	if err := yaml.UnmarshalStrict(data, &values); err != nil {
		return fmt.Errorf("--config %s: the file has to be one YAML mapping from flag names to values, for example \"ipvs-scheduler: mh\": %w", path, err)
	}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if err := setFlag(flags, name, values[name]); err != nil {
			errs = append(errs, fmt.Errorf("--config %s: %s: %w", path, name, err))
		}
	}
	return errors.Join(errs...)
}

func setFlag(flags *pflag.FlagSet, name string, value any) error {
	flag := flags.Lookup(name)
	switch {
	case name == "config", name == "help", flag == nil && !isRunFlag(name):
		return errors.New("there is no such flag (see kube-ipvs run --help)")
	case name == "init-only":
		return errors.New("it belongs on the command line: with it in a file no agent would ever serve")
	case flag == nil:
		return nil // of another command
	}
	text, err := flagText(value)
	if err != nil {
		return err
	}
	if flag.Changed {
		return nil // the command line wins
	}
	if list, ok := value.([]any); ok && flag.Value.Type() == stringArray {
		return setEach(flags, name, list)
	}
	return flags.Set(name, text)
}

// stringArray is the type of flags that are given once for each element: there may be commas in it.
const stringArray = "stringArray"

func setEach(flags *pflag.FlagSet, name string, list []any) error {
	for _, item := range list {
		text, err := flagText(item)
		if err != nil {
			return err
		}
		if err := flags.Set(name, text); err != nil {
			return err
		}
	}
	return nil
}

func isRunFlag(name string) bool {
	return slices.ContainsFunc(runGroups(&options{}), func(g group) bool { return g.flags.Lookup(name) != nil })
}

// flagText is a YAML value as it would stand on the command line.
func flagText(value any) (string, error) {
	switch v := value.(type) {
	case []any:
		texts := make([]string, len(v))
		for i, item := range v {
			text, err := flagText(item)
			if err != nil {
				return "", err
			}
			texts[i] = text
		}
		return strings.Join(texts, ","), nil
	case string:
		return v, nil
	case bool, float64, int64:
		return fmt.Sprint(v), nil
	case nil:
		return "", errors.New("there is no value behind it")
	}
	return "", fmt.Errorf("%v is neither a value nor a list of values", value)
}

// documentsIn counts the YAML documents of a file that have something in them: all but the first would be passed over.
func documentsIn(data []byte) int {
	documents := 0
	for _, text := range regexp.MustCompile(`(?m)^---(\s|$)`).Split(string(data), -1) {
		var content any
		if yaml.Unmarshal([]byte(text), &content) != nil || content != nil {
			documents++
		}
	}
	return documents
}
