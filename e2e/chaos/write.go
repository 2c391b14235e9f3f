package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// write leaves the folder, and the run's part of the page where that is asked for.
func (c *chaos) write(r Record) error {
	if err := os.MkdirAll(c.out, 0o755); err != nil {
		return fmt.Errorf("write results: %w", err)
	}
	b, err := json.MarshalIndent(&r, "", "\t")
	if err == nil {
		err = os.WriteFile(filepath.Join(c.out, "result.json"), append(b, '\n'), 0o644)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(c.out, "report.md"), []byte(r.page()), 0o644)
	}
	if err != nil {
		return fmt.Errorf("write results: %w", err)
	}
	c.Say("the results are in %s", c.out)
	if !c.writeDocs {
		return nil
	}
	page, err := os.ReadFile(c.docs)
	if err != nil {
		return fmt.Errorf("write the page: %w", err)
	}
	filled, err := fill(string(page), name(c.job), r.page())
	if err != nil {
		return fmt.Errorf("write the page %s: %w", c.docs, err)
	}
	return os.WriteFile(c.docs, []byte(filled), 0o644)
}
