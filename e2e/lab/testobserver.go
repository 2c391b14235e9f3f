package lab

import (
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"strings"
)

// testObserver turns the output of test binaries into results, by `go tool test2json`.
type testObserver struct {
	suite   *Suite
	results []Result
	current *conversion
}

// conversion is one running test2json.
type conversion struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	done chan struct{} // closed when all events were read
	// Of the goroutine that reads events, until done.
	collector *collector
	held      map[string]*strings.Builder // output of tests that have no verdict yet
	err       error
}

// Started implements Observer.
func (o *testObserver) Started(step int) {
	o.end(nil)
	p := o.suite.Packages[step]
	o.current = o.convert(p)
}

func (o *testObserver) convert(p Package) *conversion {
	c := &conversion{collector: newCollector(p.Name), held: map[string]*strings.Builder{}, done: make(chan struct{})}
	c.cmd = exec.Command("go", "tool", "test2json", "-p", p.Path)
	out, err := c.cmd.StdoutPipe()
	if err == nil {
		c.in, err = c.cmd.StdinPipe()
	}
	if err == nil {
		err = c.cmd.Start()
	}
	if err != nil {
		c.err = fmt.Errorf("go tool test2json: %w", err)
		close(c.done)
		return c
	}
	go func() {
		defer close(c.done)
		d := json.NewDecoder(out)
		for {
			var e testEvent
			if err := d.Decode(&e); err != nil {
				return // the end, or damaged: then the trailer is missing
			}
			c.collector.event(e)
			o.print(c, e)
		}
	}()
	return c
}

// print shows output at once if verbose, else when its test has failed. Benchmark figures are always shown.
func (o *testObserver) print(c *conversion, e testEvent) {
	w := o.suite.Output
	switch {
	case o.suite.Verbose:
		fmt.Fprint(w, e.Output)
	case e.Action == "output" && (e.Test == "" || strings.HasPrefix(e.Test, "Benchmark")):
		if e.Output != "PASS\n" && e.Output != "FAIL\n" && !strings.HasPrefix(e.Output, "===") {
			fmt.Fprint(w, e.Output)
		}
	case e.Action == "output":
		b := c.held[e.Test]
		if b == nil {
			b = &strings.Builder{}
			c.held[e.Test] = b
		}
		b.WriteString(e.Output)
	case e.Action == "fail" || e.Action == "skip":
		if b := c.held[e.Test]; b != nil {
			fmt.Fprint(w, b.String())
		}
		delete(c.held, e.Test)
	case e.Action == "pass":
		delete(c.held, e.Test)
	}
}

// Output implements Observer.
func (o *testObserver) Output(_ int, _ Stream, data []byte) {
	if o.current == nil || o.current.in == nil {
		return
	}
	if _, err := o.current.in.Write(data); err != nil && o.current.err == nil {
		o.current.err = fmt.Errorf("go tool test2json: %w", err)
	}
}

// Exited implements Observer.
func (o *testObserver) Exited(e Exit) { o.end(&e) }

// end takes the result of the running package. A nil exit means that its end was never seen.
func (o *testObserver) end(exit *Exit) {
	c := o.current
	if c == nil {
		return
	}
	o.current = nil
	if c.in != nil {
		c.in.Close()
	}
	<-c.done
	if c.err == nil && c.cmd.Process != nil {
		c.err = c.cmd.Wait()
	}
	result := c.collector.finish(exit)
	if c.err != nil {
		fmt.Fprintln(o.suite.Output, c.err)
		result.Trailer = ""
	}
	for _, name := range result.Open { // their output is all there is to see
		if b := c.held[name]; b != nil {
			fmt.Fprint(o.suite.Output, b.String())
		}
	}
	o.results = append(o.results, result)
}

// finish returns a result for every package, also for those that were never started.
func (o *testObserver) finish() []Result {
	o.end(nil)
	for i := len(o.results); i < len(o.suite.Packages); i++ {
		o.results = append(o.results, Result{Package: o.suite.Packages[i].Name})
	}
	return o.results
}
