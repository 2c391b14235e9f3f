package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// stage is what the audience sees. It counts the promises.
type stage struct {
	out          io.Writer
	start        time.Time
	acts         int
	kept, failed int
}

func newStage(out io.Writer) *stage {
	s := &stage{out: out, start: time.Now()}
	fmt.Fprintln(out, "\nkube-ipvs: NodePort Services through IPVS, on the node addresses you choose")
	fmt.Fprintln(out, "A line that starts with \"ok\" is a promise that was checked just now; \"FAIL\" is one that did not hold.")
	return s
}

// act starts an act: its title, and why it is played.
func (s *stage) act(title, why string) {
	s.acts++
	heading := fmt.Sprintf("%d. %s", s.acts, title)
	fmt.Fprintf(s.out, "\n%s\n%s\n%s\n\n", heading, strings.Repeat("=", len(heading)), why)
}

// say prints one sentence to the audience.
func (s *stage) say(format string, args ...any) {
	fmt.Fprintln(s.out, strings.TrimRight(fmt.Sprintf(format, args...), " "))
}

// show prints a text as it is, indented.
func (s *stage) show(text string) {
	for line := range strings.Lines(strings.TrimRight(text, "\n")) {
		fmt.Fprint(s.out, strings.TrimRight("    "+line, " \n"), "\n")
	}
	fmt.Fprintln(s.out)
}

// table prints rows in aligned columns, the first row being the heads.
func (s *stage) table(rows [][]string) {
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 3, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(t, strings.Join(row, "\t"))
	}
	_ = t.Flush() // a strings.Builder takes everything
	s.show(b.String())
}

// promise checks one promise: what says what is expected, seen is what there was.
func (s *stage) promise(held bool, what string, seen any) {
	if !held {
		s.broken(what, seen)
		return
	}
	s.kept++
	fmt.Fprintf(s.out, "ok    %s\n", what)
}

func (s *stage) broken(what string, seen any) {
	s.failed++
	text := strings.TrimRight(fmt.Sprint(seen), "\n")
	fmt.Fprintf(s.out, "FAIL  %s\n      seen: %s\n", what, strings.ReplaceAll(text, "\n", "\n      "))
}

// curtain prints the last line and is an error if a promise does not hold.
func (s *stage) curtain() error {
	took := time.Since(s.start).Round(100 * time.Millisecond)
	if s.failed > 0 {
		fmt.Fprintf(s.out, "\nFAILED: %d of %d promises do not hold (%d acts in %s)\n\n", s.failed, s.kept+s.failed, s.acts, took)
		return errors.New("promises do not hold")
	}
	fmt.Fprintf(s.out, "\nAll %d promises hold (%d acts in %s).\n\n", s.kept, s.acts, took)
	return nil
}
