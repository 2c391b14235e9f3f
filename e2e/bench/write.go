package main

import (
	"path/filepath"

	"github.com/kube-ipvs/kube-ipvs/e2e/bench/result"
)

// write leaves the folder, and the page where that is asked for.
func (b *bench) write(run result.Run) error {
	if err := run.WriteFolder(b.out); err != nil {
		return err
	}
	b.Say("the results are in %s", b.out)
	if !b.writeDocs {
		return nil
	}
	if err := run.WriteDocs(filepath.Dir(b.docs)); err != nil {
		return err
	}
	for _, key := range run.Unexplained() {
		b.Say("WARNING: the goal %s was not reached, and the page does not say why: write e2e/bench/result/why/%s.md", key, key)
	}
	return nil
}
