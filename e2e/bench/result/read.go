package result

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
)

// Read reads a run, as WriteFolder writes it to results.json. What cannot have been measured is an error: nothing is concluded from it.
func Read(in io.Reader) (Run, error) {
	var run Run
	if err := json.NewDecoder(in).Decode(&run); err != nil {
		return Run{}, fmt.Errorf("read a run: %w", err)
	}
	for i, s := range run.Samples {
		if err := s.valid(); err != nil {
			return Run{}, fmt.Errorf("read a run: sample %d (%s of %q): %w", i, s.Measure, s.Subject, err)
		}
	}
	return run, nil
}

func (s Sample) valid() error {
	switch {
	case s.Subject == "" || s.Measure == "":
		return errors.New("it does not say what was measured of whom")
	case s.Size < 0 || s.Changes < 0 || s.Watched < 0:
		return errors.New("a count or a time is below zero")
	}
	for _, v := range s.Values {
		if v < 0 || math.IsInf(v, 0) || math.IsNaN(v) {
			return fmt.Errorf("%v is no measurement", v)
		}
	}
	return nil
}

// encode writes the run as Read reads it, with each sample on a line of its own.
func (r Run) encode(out io.Writer) error {
	samples := r.Samples
	r.Samples = []Sample{}
	text, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return fmt.Errorf("write a run: %w", err)
	}
	var b bytes.Buffer
	b.Write(bytes.TrimSuffix(text, []byte("]\n}")))
	for i, s := range samples {
		line, err := json.Marshal(s)
		if err != nil {
			return fmt.Errorf("write a run: sample %d (%s of %q): %w", i, s.Measure, s.Subject, err)
		}
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString("\n  ")
		b.Write(line)
	}
	b.WriteString("\n ]\n}\n")
	if _, err := b.WriteTo(out); err != nil {
		return fmt.Errorf("write a run: %w", err)
	}
	return nil
}
