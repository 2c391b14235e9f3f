//go:build kernel

package count_test

import (
	"os/exec"
	"testing"
)

// rounds are how often each way has its turn: the processor of a guest is not always as fast.
const rounds = 3

// What counting costs the program: a system call that does next to nothing, a message that the kernel refuses with its answer, and the same from moby/ipvs.
func BenchmarkCounting(b *testing.B) {
	uncounted := func(b *testing.B) *worker {
		return startWorker(b, func(name string, args ...string) {
			cmd := exec.Command(name, args...)
			if err := cmd.Start(); err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() {
				_ = cmd.Process.Kill()
				_ = cmd.Wait()
			})
		})
	}
	counted := func(b *testing.B) *worker { return startProgram(b).worker }
	watched := func(b *testing.B) *worker {
		p := startProgram(b)
		p.watch(true)
		return p.worker
	}
	ways := []struct {
		name  string
		start func(*testing.B) *worker
	}{{"not", uncounted}, {"standing-still", counted}, {"watched", watched}}
	for range rounds {
		for _, way := range ways {
			b.Run(way.name, func(b *testing.B) {
				w := way.start(b)
				w.t = b
				w.do("services", 1)
				for _, what := range []string{"calls", "sends", "updates"} {
					b.Run(what, func(b *testing.B) {
						w.t = b
						w.do(what, b.N)
					})
				}
				w.t = b
				w.do("remove", 1)
			})
		}
	}
}
