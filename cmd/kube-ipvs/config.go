package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"sigs.k8s.io/yaml"
)

// loadConfig sets the flags that a YAML file names and the command line does not. The file is one mapping from flag
// names, without the dashes, to values; a list may be written as a YAML list. Everything wrong with it is joined.
func loadConfig(path string, flags *pflag.FlagSet) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("--config: %w", err)
	}
	var values map[string]any
	if err := yaml.UnmarshalStrict(data, &values); err != nil {
		return fmt.Errorf("--config %s: %w: the file is one mapping from flag names to values", path, err)
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
	if flag == nil || name == "config" || name == "help" {
		return errors.New("there is no such flag (see --help)")
	}
	text, err := flagText(value)
	if err != nil {
		return err
	}
	if flag.Changed {
		return nil // the command line wins
	}
	if err := flags.Set(name, text); err != nil {
		return err
	}
	return nil
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
	}
	return "", fmt.Errorf("%v is neither a value nor a list of values", value)
}
