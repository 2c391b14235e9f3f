package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/kube-ipvs/kube-ipvs/e2e/bench/result"
)

// write leaves the folder.
func (b *bench) write(run result.Run) error {
	content, err := json.MarshalIndent(run, "", " ")
	if err == nil {
		err = os.MkdirAll(b.out, 0o755)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(b.out, "results.json"), content, 0o644)
	}
	if err != nil {
		return fmt.Errorf("write results: %w", err)
	}
	return nil
}
