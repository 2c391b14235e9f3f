package result

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"time"
)

// Read reads a run, as WriteFolder writes it to results.json. What cannot have been measured is an error: numbers are not made of it.
func Read(in io.Reader) (Run, error) {
	var run Run
	if err := json.NewDecoder(in).Decode(&run); err != nil {
		return Run{}, fmt.Errorf("read a run: %w", err)
	}
	for i, s := range run.Samples {
		if err := s.valid(); err != nil {
			return Run{}, fmt.Errorf("read a run: sample %d, %s %s: %w", i, s.Subject, s.Measure, err)
		}
	}
	return run, nil
}

func (s Sample) valid() error {
	switch {
	case s.Subject == "" || s.Measure == "":
		return fmt.Errorf("it does not say what was measured of whom")
	case s.Size < 0 || s.Changes < 0:
		return fmt.Errorf("a count is below zero")
	}
	for _, v := range s.Values {
		if v < 0 || math.IsInf(v, 0) || math.IsNaN(v) {
			return fmt.Errorf("%v is no measurement", v)
		}
	}
	return nil
}

// write writes the run so that Read reads it, in a form that version control shows well.
func (r Run) write(out io.Writer) error {
	enc := json.NewEncoder(out)
	enc.SetIndent("", " ")
	if err := enc.Encode(r); err != nil {
		return fmt.Errorf("write a run: %w", err)
	}
	return nil
}

// subtract and the like are not needed: sums are enough.
func (u *Usage) add(o Usage) {
	u.CPU += o.CPU
	u.Syscalls += o.Syscalls
	u.Execs += o.Execs
	u.IPVSWrites += o.IPVSWrites
	u.IPVSReads += o.IPVSReads
	u.NftWrites += o.NftWrites
	u.NftCommits += o.NftCommits
	u.NftReads += o.NftReads
	u.IpsetWrites += o.IpsetWrites
	u.NetlinkSends += o.NetlinkSends
	u.IptablesWrites += o.IptablesWrites
}

var _ = time.Second
